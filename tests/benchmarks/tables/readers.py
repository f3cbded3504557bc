"""Readers of delimited text that are compared, each with no option but the file's name."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables import text_files

OURS = "betaline"


@dataclass(frozen=True)
class Found:
    """A table as a reader reads it."""

    header: list[str]
    columns: list[list[Any]]
    """Values of each column: texts, or whatever types the reader gives them."""
    said: tuple[str, ...] = ()
    """Sentences of the reader about the file."""
    refusal: str = ""
    """Sentence of a reader that does not take the file as it is."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.columns[0]) if self.columns else 0


Reader = Callable[[Path], Found]


def read_truth(path: Path, has_names: bool) -> Found:
    """Returns what a file of `clean/` holds: RFC 4180.

    Args:
        path: The file.
        has_names: Whether the published file has a line of names. Without one, most files of `clean/` begin with a line
            of `col_0, col_1, …`.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    made = [f"col_{place}" for place in range(len(rows[0]))]
    is_made = not has_names and [name.strip() for name in rows[0]] == made
    header, rows = (rows[0], rows[1:]) if has_names or is_made else (made, rows)
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header]
    if len(header) == len(columns) - 1:
        is_last_empty = not any(map(str.strip, columns[-1]))
        header = [*header, ""] if is_last_empty else ["", *header]  # R leaves out the name of the first column
    return Found([name.strip() for name in header], columns)


def _betaline(path: Path) -> Found:
    config = IngestConfig(source=str(path), name="survey")
    with path.open("rb") as file:
        raw = text_files.read(file, path.name, config)
    found = Found(raw.table.column_names, [column.to_pylist() for column in raw.table.columns], raw.notes)
    if not raw.problems:
        return found
    # An ingest refuses bad rows, unless --set on_bad=quarantine leaves them out.
    first, more = raw.problems[0], len(raw.problems) - 1
    return Found(found.header, found.columns, found.said, f"{first}{f' (and {more:,} more)' if more else ''}")


def _duckdb(path: Path) -> Found:
    import duckdb

    with duckdb.connect() as connection:
        result = connection.execute("SELECT * FROM read_csv(?)", [str(path)])
        rows = result.fetchall()
        return _of_rows([column[0] for column in result.description or ()], rows)


def _polars(path: Path) -> Found:
    import polars

    frame = polars.read_csv(path)
    return Found(frame.columns, [column.to_list() for column in frame.get_columns()])


def _pandas(path: Path, **options: Any) -> Found:
    import pandas

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        frame = pandas.read_csv(path, **options).copy()
    if not isinstance(frame.index, pandas.RangeIndex):
        frame = frame.reset_index()  # pandas takes fields without a name for an index
    header = [str(name) for name in frame.columns]
    columns = [[None if pandas.isna(value) else value for value in frame.iloc[:, i]] for i in range(frame.shape[1])]
    return Found(header, columns, tuple(str(warning.message) for warning in heard))


def _pandas_sniffing(path: Path) -> Found:
    return _pandas(path, sep=None, engine="python")


def _of_rows(header: list[str], rows: list[tuple[Any, ...]]) -> Found:
    return Found(header, [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header])


READERS: Mapping[str, Reader] = {
    OURS: _betaline,
    "DuckDB": _duckdb,
    "pandas, sep=None": _pandas_sniffing,
    "pandas": _pandas,
    "Polars": _polars,
}
"""Readers by the name that the page gives them."""


def read_with(reader: Reader, path: Path) -> Found:
    """Returns a file as a reader reads it; what it raises is its refusal."""
    try:
        return reader(path)
    except Exception as error:  # each library has errors of its own
        return Found([], [], refusal=" ".join(str(error).split()) or type(error).__name__)
