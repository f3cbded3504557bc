"""Parquet as a source."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae.errors import DataError


def test_parquet_columns_keep_their_types(tmp_path, look) -> None:
    """Types stay; text is categorical, dictionaries are text, NaN and null are missing."""
    table = pa.table(
        {
            "x": pa.array([0.5, float("nan"), None], pa.float32()),
            "n": pa.array([1, 2, 3], pa.int16()),
            "w": pa.array(["b", "a", "b"]).dictionary_encode(),
            "k": ["u", "v", "u"],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    survey, block = look(tmp_path / "t.parquet", label="k")
    assert [(c.name, c.kind, c.dtype) for c in survey.example.columns] == [
        ("x", "numeric", "float"),
        ("n", "numeric", "int16"),
        ("w", "categorical", "string"),
    ]
    assert block.examples.to_pydict() == {"x": [0.5, None, None], "n": [1, 2, 3], "w": ["b", "a", "b"]}
    assert survey.classes == ("u", "v")


def test_parquet_schema_drift_is_a_diff(tmp_path, look) -> None:
    """Another schema is refused with both fingerprints and what differs."""
    pq.write_table(pa.table({"a": [1], "b": [1.0], "c": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [1.0], "c": [1], "d": ["x"]}), tmp_path / "2.parquet")
    expected = (
        r"2\.parquet: schema [0-9a-f]{12} differs from 1\.parquet's [0-9a-f]{12}: missing 'b' \(double\); "
        r"extra 'd' \(string\); 'a' is double, expected int64"
    )
    with pytest.raises(DataError, match=expected):
        look(tmp_path)


def test_parquet_infinite_value_is_refused_with_its_row(tmp_path, look) -> None:
    """Infinity is named by file, row and column."""
    pq.write_table(pa.table({"a": [1.0, float("inf")]}), tmp_path / "t.parquet")
    survey, _ = look(tmp_path)
    assert [str(p) for p in survey.problems] == [
        "t.parquet, row 1, column 'a': expected a number within ±3.4e38, found one beyond"
    ]


def test_parquet_bomb_is_refused_by_its_footer(tmp_path, look) -> None:
    """Few bytes that are many rows are counted before they are read."""
    pq.write_table(pa.table({"a": pa.repeat(pa.scalar(1), 5_000_000)}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 40_000
    with pytest.raises(
        DataError, match="5,000,000 rows of 1 columns unfold to 40,000,000 bytes, above the limit of 1,000"
    ):
        look(tmp_path, max_memory_bytes=1000)


def test_parquet_strange_types_are_refused(tmp_path, look) -> None:
    """Lists and times have no place in a table of features."""
    pq.write_table(pa.table({"a": [[1]], "t": pa.array([0], pa.timestamp("s"))}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"expected columns of numbers, booleans or text, found 'a' \(list<"):
        look(tmp_path)


def test_parquet_truncated_or_empty_is_refused(tmp_path, look) -> None:
    """A file without its footer, and one without rows, say so."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    with pytest.raises(DataError, match=r"t\.parquet: 0 examples\. The file has no rows"):
        look(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"t\.parquet: not a whole Parquet file"):
        look(path)
