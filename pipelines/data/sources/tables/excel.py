"""Excel files: the first sheet, whose cells have types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables.layout import INDEX, different
from pipelines.data.sources.tables.raw import RawTable
from vae.errors import DataError

SUFFIXES = (".xlsx", ".xlsm", ".xls", ".ods")


def read(file: BinaryIO, path: str, config: IngestConfig) -> RawTable:
    """Returns the rows of the first sheet with cells; the first row that is full gives the names.

    Raises:
        DataError: If the file cannot be read, or has no rows.
    """
    import python_calamine

    try:
        book = python_calamine.load_workbook(file)
        sheets = [(name, book.get_sheet_by_name(name).to_python()) for name in book.sheet_names]
    except python_calamine.CalamineError as error:
        raise DataError(f"{path}: cannot be read as a workbook: {error}. Save it again, or as CSV") from error
    full = [(name, [row for row in rows if any(cell != "" for cell in row)]) for name, rows in sheets]
    full = [(name, rows) for name, rows in full if rows]
    if not full:
        raise DataError(f"{path}: 0 examples. No sheet has a row")
    name, rows = full[0]
    notes = (
        [f"sheet {name!r} read; left out: {', '.join(map(repr, (n for n, _ in full[1:])))}"] if len(full) > 1 else []
    )
    usual = Counter(sum(cell != "" for cell in row) for row in rows).most_common(1)[0][0]
    start = next(
        number for number, row in enumerate(rows) if sum(cell != "" for cell in row) >= min(usual, len(row)) - 1
    )
    notes += [f"{start} rows above the table left out"] if start else []
    if config.header is False:
        names, body = [f"column_{place + 1}" for place in range(len(rows[start]))], rows[start:]
    else:
        names = [str(cell).strip() or (INDEX if not place else "") for place, cell in enumerate(rows[start])]
        body = rows[start + 1 :]
    unique, changed = different(names)
    columns = {one: _column([row[place] for row in body]) for place, one in enumerate(unique)}
    return RawTable.typed(pa.table(columns), [*notes, *changed])


def _column(cells: Sequence[Any]) -> pa.Array:
    """Returns cells as an array of the type that all of them have, else as text; empty ones are null."""
    values = [None if cell == "" else cell for cell in cells]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        whole = all(value is None or float(value).is_integer() for value in values)
        return (
            pa.array([None if v is None else int(v) for v in values], pa.int64())
            if whole
            else pa.array(values, pa.float64())
        )
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {date}:
        return pa.array(values, pa.date32())
    if kinds <= {date, datetime}:
        return pa.array([_moment(value) for value in values], pa.timestamp("us"))
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _moment(value: date | None) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day)


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, date | time) else str(value)
