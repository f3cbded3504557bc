"""Parquet as a source of tables."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae.errors import DataError


def test_parquet_columns_keep_their_types(tmp_path, look) -> None:
    """Types stay; text is categorical, dictionaries are text, NaN and null are missing."""
    columns = {
        "x": pa.array([0.5, float("nan"), None], pa.float32()),
        "n": pa.array([1, 2, 3], pa.int16()),
        "w": pa.array(["b", "a", "b"]).dictionary_encode(),
        "k": ["u", "v", "u"],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    survey, block = look(tmp_path / "t.parquet", label="k")
    expected = [("x", "numeric", "float"), ("n", "numeric", "int16"), ("w", "categorical", "string")]
    assert [(c.name, c.kind, c.dtype) for c in survey.example.columns] == expected
    assert block.examples.to_pydict() == {"x": [0.5, None, None], "n": [1, 2, 3], "w": ["b", "a", "b"]}
    assert survey.classes == ("u", "v")


def test_parquet_schema_drift_is_a_diff(tmp_path, look) -> None:
    """Another schema is refused with both fingerprints and what differs."""
    pq.write_table(pa.table({"a": [1], "b": [1.0], "c": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [1.0], "c": [1], "d": ["x"]}), tmp_path / "2.parquet")
    expected = r"2\.parquet: columns differ from 1\.parquet's: missing b; extra d; 'a' is double, expected int64"
    with pytest.raises(DataError, match=expected):
        look(tmp_path)


def test_parquet_infinite_value_is_refused_with_its_row(tmp_path, look) -> None:
    """Infinity is named by file, row and column."""
    pq.write_table(pa.table({"a": [1.0, float("inf")]}), tmp_path / "t.parquet")
    [problem] = look(tmp_path)[0].problems
    assert str(problem) == "t.parquet, row 1, column 'a': expected a number within ±3.4e38, found one beyond"


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"a": pa.repeat(pa.scalar(1), 5_000_000)},
            {"max_memory_bytes": 100_000},
            "5,000,000 rows of 1 columns unfold to 40,000,000 bytes, above the limit of 100,000",
        ),
        (
            {"a": [[1]]},
            {},
            r"no column to model \('a': out, values of type list<",
        ),
        ({"a": pa.array([], pa.int64())}, {}, r"t\.parquet: 0 examples\. The file has no rows"),
    ],
    ids=["bomb", "types", "empty"],
)
def test_parquet_that_is_no_table_is_refused(tmp_path, look, columns, options, message) -> None:
    """Few bytes that are many rows are counted by the footer; lists alone and files without rows are refused."""
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 40_000
    with pytest.raises(DataError, match=message):
        look(tmp_path, **options)


def test_parquet_without_footer_is_refused(tmp_path, look) -> None:
    """A file that is cut off names itself."""
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-4])
    with pytest.raises(DataError, match=r"t\.parquet: not a whole Parquet file"):
        look(tmp_path)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32(), 3), pa.list_(pa.float64()), pa.large_list(pa.float32())], ids=str
)
def test_parquet_lists_of_numbers_are_columns(tmp_path, look, kind) -> None:
    """Lists of one length become a column for each place, with their values; a missing list is missing in each."""
    rows = [[n % 11, n % 7, -n / 2] for n in range(50)]
    # Arrow writes a missing list of a fixed length, and cannot read it.
    rows += [] if pa.types.is_fixed_size_list(kind) else [None]
    table = pa.table({"v": pa.array(rows, kind), "y": [n / 7 for n in range(len(rows))]})
    pq.write_table(table, tmp_path / "t.parquet")
    survey, block = look(tmp_path / "t.parquet")
    assert survey.notes == ("lists of 3 numbers in column 'v' read as columns v_0 … v_2",)
    assert block.examples.column_names == ["v_0", "v_1", "v_2", "y"]
    assert block.examples["v_2"].to_pylist() == [row and row[2] for row in rows]


def test_parquet_lists_of_several_lengths_are_left_out(tmp_path, look) -> None:
    """Lists that differ in their length stay one column, which is left out with a remark."""
    table = pa.table({"v": [[1.0], [1.0, 2.0]] * 20, "y": [n / 7 for n in range(40)]})
    pq.write_table(table, tmp_path / "t.parquet")
    survey, block = look(tmp_path / "t.parquet")
    assert block.examples.column_names == ["y"]
    assert "values of type list" in survey.understood[0].remarks[0]
