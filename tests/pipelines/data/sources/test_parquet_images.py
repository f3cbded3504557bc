"""Parquet files of encoded images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.data.sources.conftest import png, random_images
from vae.errors import DataError

IMAGES = random_images(9, 4, 5)
FILES = [png(image) for image in IMAGES]
FEATURES = {"info": {"features": {"label": {"names": ["ape", "bee", "cat"], "_type": "ClassLabel"}}}}


def write(path: Path, files: list[bytes], labels: list[int], *, struct: bool = True) -> None:
    """Writes a file as Hugging Face does."""
    column = [{"bytes": item, "path": None} for item in files] if struct else files
    table = pa.table({"image": column, "label": labels})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(FEATURES)}), path)


@pytest.mark.parametrize("struct", [True, False])
def test_parquet_images_come_with_names_and_splits(tmp_path, look, struct) -> None:
    """Pixels come back as they were, class names from the metadata, splits from the files' names."""
    write(tmp_path / "train-00000-of-00001.parquet", FILES[:6], [0, 2, 0, 2, 0, 2], struct=struct)
    write(tmp_path / "test-00000-of-00001.parquet", FILES[6:], [0, 2, 2], struct=struct)
    survey, block = look(tmp_path)
    assert survey.classes == ("ape", "bee", "cat")
    assert survey.own_splits.tolist() == [2] * 3 + [0] * 6
    assert survey.labels.tolist() == [0, 2, 2, 0, 2, 0, 2, 0, 2]
    np.testing.assert_array_equal(block.examples, IMAGES[[6, 7, 8, 0, 1, 2, 3, 4, 5]].reshape(9, 20))


def test_parquet_images_keep_the_order_asked_for(tmp_path, look) -> None:
    """Rows are given in the order of the shuffle, not of the file."""
    write(tmp_path / "t.parquet", FILES, [0] * 9)
    survey, _ = look(tmp_path)
    rows = np.array([5, 1, 8])
    block = survey.reader.read(rows)
    assert block.kept.tolist() == [5, 1, 8]
    np.testing.assert_array_equal(block.examples, IMAGES[rows].reshape(3, 20))


def test_parquet_images_that_are_bad_are_named(tmp_path, look) -> None:
    """A missing image, and one cut off, are named by file, row and column."""
    data = FILES.copy()
    data[2], data[4] = b"", data[4][:60]
    pq.write_table(pa.table({"pic": data}), tmp_path / "t.parquet")
    survey, block = look(tmp_path)
    assert [str(p) for p in survey.problems] == ["t.parquet, row 2, column 'pic': 0 bytes"]
    assert str(block.problems[0]).startswith("t.parquet, row 4, column 'pic': cannot be decoded to its end")
    assert block.kept.tolist() == [0, 1, 3, 5, 6, 7, 8]
    assert survey.classes is None


def test_parquet_images_of_two_columns_need_an_option(tmp_path, look) -> None:
    """With two columns of bytes, `image` says which."""
    pq.write_table(pa.table({"left": FILES, "right": FILES[::-1]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"cannot tell which column holds the images. Columns: left \(binary\), right"):
        look(tmp_path)
    np.testing.assert_array_equal(look(tmp_path, image="right")[1].examples, IMAGES[::-1].reshape(9, 20))
