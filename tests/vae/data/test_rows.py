"""Rows: Arrow's columns become arrays, whatever their type, and missing stays missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from vae.data.manifest import derive_schema_fingerprint
from vae.data.parquet import Dataset
from vae.data.rows import ATTRIBUTE
from vae.data.schema import Column, ExampleSpec
from vae.data.transforms import transform_of
from vae.errors import CorruptData


def encode(table: pa.Table, columns: Sequence[Column]) -> NDArray[np.float64]:
    """All rows of a shard's table, as a dataset reads them."""
    return transform_of(ExampleSpec.of_table(columns)).from_arrow(table, slice(0, len(table)))


def numeric(name: str, dtype: str = "double") -> Column:
    return Column(name, dtype=dtype)


def categorical(name: str, *categories: str, dtype: str = "string") -> Column:
    return Column(name, categories, dtype=dtype)


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        (pa.array([1.5, None, -2.0]), numeric("a"), [1.5, np.nan, -2.0]),
        (pa.array([7, None, -(2**40) - 1], pa.int64()), numeric("a", "int64"), [7, np.nan, -(2**40) - 1]),
        (pa.array([True, None, False]), numeric("a", "bool"), [1, np.nan, 0]),
        (pa.array(["b", None, "a"]), categorical("a", "a", "b"), [1, np.nan, 0]),
        (pa.array([10, None, 9]), categorical("a", "9", "10", dtype="int64"), [1, np.nan, 0]),
        (pa.array([True, None, False]), categorical("a", "False", "True", dtype="bool"), [1, np.nan, 0]),
        (pa.array([], pa.string()), categorical("a", "a"), []),
    ],
)
def test_encode_gives_numbers_codes_and_nan(values: pa.Array, column: Column, expected: list[float]) -> None:
    """Numbers stay in their own unit, categories become their codes, and null becomes NaN, in every chunk."""
    for chunks in ([values], [values[:1], values[1:]]):
        found = encode(pa.table({"a": pa.chunked_array(chunks, values.type)}), [column])
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found[:, 0], expected)


def test_encode_refuses_an_unknown_category() -> None:
    """A value that the manifest does not know is no code; of columns that are read together, its own is named."""
    with pytest.raises(CorruptData, match="column 'q' holds 'c', which is none of its 2 categories"):
        encode(pa.table({"p": ["a", "b"], "q": ["a", "c"]}), [categorical(name, "a", "b") for name in "pq"])


def test_columns_stored_alike_keep_their_places() -> None:
    """Columns of several kinds, some of them alike, come back in the order of the table."""
    columns = [
        numeric("x"),
        categorical("k", "a", "b"),
        numeric("n", "int64"),
        categorical("l", "a", "b"),
        numeric("y"),
    ]
    table = pa.table({"x": [0.5, None], "k": ["b", "a"], "n": [3, 4], "l": [None, "b"], "y": [1.5, 2.5]})
    expected = [[0.5, 1, 3, np.nan, 1.5], [np.nan, 0, 4, 1, 2.5]]
    np.testing.assert_array_equal(encode(table, columns), expected)


def test_missing_entries_are_counted_from_the_footers(people: Dataset) -> None:
    """As many as the columns of a table have; the labels are none of them."""
    names = [column.name for column in people.manifest.example.columns]
    assert people.count_missing("train") == sum(people.read_table("train")[name].null_count for name in names) > 0


@pytest.mark.parametrize(("start", "stop"), [(0, 900), (0, 100), (150, 160), (95, 205), (900, 900)])
def test_read_rows_of_a_table_is_any_range(people: Dataset, start: int, stop: int) -> None:
    """A range of a table is its columns as float64, with the labels, in one read or in blocks of any size."""
    table = people.read_table("train")
    expected = encode(table, people.manifest.example.columns)[start:stop]
    rows = people.read_rows("train", start, stop)
    np.testing.assert_array_equal(rows.values, expected)
    np.testing.assert_array_equal(rows.labels, table["label"].to_numpy()[start:stop])
    assert (rows.values.dtype, rows.attributes, rows.observed) == (np.float64, None, None)
    blocks = list(people.blocks("train", start, stop, 30))
    assert all(0 < len(block.values) <= 30 for block in blocks)
    np.testing.assert_array_equal(np.concatenate([rows.values[:0], *(block.values for block in blocks)]), expected)


def test_attributes_come_beside_images(publish, tmp_path) -> None:
    """Attributes are stored after the label, cannot collide with it, and come back as they were, in any range."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(250, 1, 4, 4), dtype=np.uint8)
    values = rng.normal(size=(250, 2)).astype(np.float32)
    values[::7, 0], values[:, 1] = np.nan, rng.integers(3, size=250)
    columns = (numeric("label", "double"), categorical("mood", "bad", "fair", "good"))
    dataset = publish(tmp_path, pixels, np.arange(250) % 3, {"train": 200, "test": 50}, 64, columns, values)
    names = ["image", "label", "attribute.label", "attribute.mood", "source_row"]
    assert dataset.read_table("test").column_names == names
    for start, stop in [(0, 200), (10, 20), (60, 130)]:
        for rows in (dataset.read_rows("train", start, stop), dataset.read_rows("train", start, stop, verify=True)):
            np.testing.assert_array_equal(rows.attributes, values[start:stop])
            np.testing.assert_array_equal(rows.values, pixels[start:stop].reshape(-1, 16))
        blocks = list(dataset.blocks("train", start, stop, 7))
        np.testing.assert_array_equal(np.concatenate([block.attributes for block in blocks]), values[start:stop])
    some = dataset.read_table("train", [ATTRIBUTE + "mood"])
    assert some.column_names == ["attribute.mood"]
    assert dataset.read_table("validation", [ATTRIBUTE + "mood"]).num_rows == 0


def test_fingerprint_counts_attributes_only_where_there_are_any(digits: Dataset) -> None:
    """What has no attributes is called as before there were any; another category is another fingerprint."""
    example = digits.manifest.example
    moods = [(categorical("mood", name),) for name in ("bad", "good")]
    found = {derive_schema_fingerprint(replace(example, attributes=attributes)) for attributes in [(), *moods]}
    assert len(found) == 3
    assert derive_schema_fingerprint(example) == digits.manifest.schema_fingerprint
