"""Splits and columns by the paths of a table's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.sources.folders import split_of
from tests.pipelines.data.sources.conftest import png, random_images
from vae.errors import DataError

ROWS = {"x": [n / 7 for n in range(30)]}


def write(path: Path, rows: dict[str, Any] | None = None) -> None:
    """Writes a Parquet or CSV file, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(rows or ROWS)
    if path.suffix == ".csv":
        table.to_pandas().to_csv(path, index=False)
    else:
        pq.write_table(table, path)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_keys_of_hive_folders_are_columns(tmp_path, look, suffix) -> None:
    """Keys come back as numbers or text beside the rows of their files, as Arrow's own reader gives them, with a note."""
    for year, place in ((2019, "Köln/Süd"), (2020, "Bonn")):
        write(tmp_path / f"year={year}" / f"place={place.replace('/', '%2F')}" / f"part.{suffix}")
    survey, block = look(tmp_path)
    assert survey.notes == ("keys of the folders taken as columns: year, place",)
    assert block.examples.column_names == ["x", "year", "place"]
    if suffix == "parquet":
        expected = pq.read_table(tmp_path, partitioning="hive").to_pandas()
        assert block.examples["year"].to_pylist() == expected["year"].tolist()
    assert block.examples["year"].to_pylist() == [2019] * 30 + [2020] * 30
    assert block.examples["place"].to_pylist() == ["Köln/Süd"] * 30 + ["Bonn"] * 30
    with pytest.raises(DataError, match=r"--strict allows none:\n  keys of the folders taken as columns: year, place"):
        look(tmp_path, strict=True)


def test_hive_default_partition_is_missing(tmp_path, look) -> None:
    """The folder that Hive gives rows without a key holds missing values."""
    for code in ("007", "008", "__HIVE_DEFAULT_PARTITION__"):
        write(tmp_path / f"code={code}" / "part.parquet")
    _, block = look(tmp_path)
    assert block.examples["code"].to_pylist() == ["007"] * 30 + ["008"] * 30 + [None] * 30


def test_keys_of_some_files_are_left_out_with_a_note(tmp_path, look) -> None:
    """A key that is a column of the files keeps their values; one that some paths lack is named."""
    write(tmp_path / "x=1" / "part.parquet")
    write(tmp_path / "x=2" / "y=3" / "part.parquet")
    survey, block = look(tmp_path)
    assert survey.notes == ("keys of the folders left out: x, y",)
    assert block.examples["x"].to_pylist() == ROWS["x"] * 2


@pytest.mark.parametrize("names", [("split=train/a", "split=test/a"), ("train/a", "test/a"), ("train", "test")])
def test_names_of_splits_are_the_splits_of_a_table(tmp_path, look, names) -> None:
    """Folders and files named after splits give the rows' splits, and no column, with a note."""
    for name in names:
        write(tmp_path / f"{name}.csv")
    survey, block = look(tmp_path)
    assert survey.notes == ("splits by the names of the files or their folders (files: train 1, test 1)",)
    assert block.examples.column_names == ["x"]
    order = sorted(names)
    assert survey.own_splits.tolist() == [0 if "train" in order[0] else 2] * 30 + [0 if "train" in order[1] else 2] * 30


def test_splits_of_parquet_images_come_from_folders(tmp_path, look) -> None:
    """Folders `split=…` hold the splits of encoded images; another key is left out with a note."""
    files = [png(image) for image in random_images(4, 5, 6)]
    for split in ("train", "test"):
        write(tmp_path / f"split={split}" / "year=1" / "part.parquet", {"image": files})
    survey, _ = look(tmp_path)
    np.testing.assert_array_equal(survey.own_splits, [2] * 4 + [0] * 4)
    assert survey.notes == ("keys of the folders left out: year",)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", 0), ("default/validation/0000.parquet", 1), ("TEST.csv", 2), ("val_1.csv", 1),
        ("training.csv", 0), ("trains.csv", None), ("values.csv", None), ("split=x/a.csv", None), ("a/testament.csv", None),
    ],
)  # fmt: skip
def test_split_of_a_path(path, split) -> None:
    """Only whole words name a split."""
    assert split_of(path) == split
