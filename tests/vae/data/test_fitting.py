"""Facts that a training says of its data beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.vae.conftest import Publish
from vae.data.fitting import worth_knowing
from vae.data.parquet import Dataset
from vae.data.schema import Column

NAMES = ("red", "blue")
COLUMNS = [
    Column("weight", dtype="double"),
    Column("flag", dtype="double"),
    Column("visits", dtype="int64", type="count"),
    Column("year", dtype="int64"),
    Column("colour", NAMES, dtype="string"),
    Column("empty", dtype="double"),
]


def made(publish_table: Publish, folder: Path, labels: bool = False) -> Dataset:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "weight": rng.normal(size=100),
            "flag": rng.integers(0, 2, 100).astype(float),
            "visits": rng.poisson(3, 100),
            "year": np.full(100, 2026),
            "colour": pa.array(["red"] * 100),
            "empty": pa.nulls(100, pa.float64()),
        }
    )
    classes = np.where(np.arange(100) % 30 == 0, 1, 0) if labels else None
    return publish_table(folder, table, COLUMNS, classes, {"train": 80, "validation": 20})


def test_columns_that_teach_nothing_or_are_no_densities_are_named(publish_table: Publish, tmp_path: Path) -> None:
    """A constant, one category, an empty column, a flag and a count are named; a likelihood of counts is content."""
    dataset = made(publish_table, tmp_path)
    constant, whole = worth_knowing(dataset, densities=True)
    assert constant.startswith("3 columns (year, colour, empty) with one value or none in the training split")
    assert whole.startswith("2 columns (flag, visits) of counts or of 0 and 1 scored by a density")
    assert list(worth_knowing(dataset, densities=False)) == [constant]


def test_classes_with_few_rows_are_named_by_split(publish_table: Publish, tmp_path: Path) -> None:
    """The manifest's counts say which classes have fewer than ten rows; a split without rows is not spoken of."""
    dataset = made(publish_table, tmp_path, labels=True)
    counts = {"train": (77, 3), "validation": (12, 8), "test": (0, 0)}
    dataset = Dataset(dataset.uri, dataset.manifest.model_copy(update={"class_counts": counts}))
    train, validation, *_ = worth_knowing(dataset, densities=False)
    assert train == "the train split has fewer than 10 rows of 1 class (1 (3))."
    assert validation == "the validation split has fewer than 10 rows of 1 class (1 (8))."


def test_images_have_no_columns_to_speak_of(digits: Dataset) -> None:
    """Of images only the classes are looked at."""
    assert list(worth_knowing(digits, densities=False)) == []
