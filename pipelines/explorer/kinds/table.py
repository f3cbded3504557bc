"""Rows of a table in the explorer."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.explorer.kinds import Content, Kind, Panel, check_size
from vae.data.schema import Column, ExampleSpec
from vae.data.transforms import transform_of
from vae.data.transforms.columns import transform_of_column
from vae.data.transforms.frames import frame_of
from vae.errors import DataError

if TYPE_CHECKING:
    from pipelines.explorer.models import Subject
    from pipelines.explorer.views import Repair

MOST_CELL = 200
"""Characters of a table's cell, or of a column's name; the rest is cut off."""
MOST_UNKNOWN = 100
"""Columns of a file beyond those of the model, at most."""
MOST_WORDS = 1000
"""Characters of a message about a file; the rest is cut off."""
MOST_DIGITS = 10
ROW_INCHES = 0.2
MOST_FIELD_CHARACTERS = 1 << 17
"""Longest field of an uploaded table; a longer one is refused."""


class Tables(Kind):
    """Rows of a table, as data frames."""

    prefix = "json"
    upload = "Upload a row as CSV"
    accepts = ".csv,.tsv,.txt,text/csv"
    file = "CSV file"
    editor = "cells"

    def described(self, shape: tuple[int, ...]) -> str:
        return f"tables of {shape[0]} columns"

    def own(self, subject: Subject, text: str, where: str) -> pd.DataFrame:
        columns = columns_of(subject)
        return with_cells(_empty_row(columns), text, columns, where)

    def blank(self, subject: Subject) -> pd.DataFrame:
        columns = columns_of(subject)
        values = [0.0 if column.categories else round(column.mean, 4) for column in columns]
        return self.rows(subject.model.examples, np.array([values]))

    def rows(self, examples: ExampleSpec, values: NDArray[Any]) -> pd.DataFrame:
        return transform_of(examples.untyped()).write_values(values)  # pyright: ignore[reportReturnType]

    def pair(self, first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([first, second], ignore_index=True)

    def damaged(self, subject: Subject, view: Repair, values: pd.DataFrame) -> pd.DataFrame:
        return with_cells(values, view.cells, columns_of(subject))

    def content(self, subject: Subject, data: bytes, row: str) -> Content:
        number = int(row) if row.isdecimal() and len(row) < MOST_DIGITS else -1
        example, num_rows = read_row(subject, data, number)
        return Content(write_row(example), "its row" if num_rows == 1 else f"its row {number}", num_rows)

    def panels(self, values: pd.DataFrame, names: Sequence[str]) -> list[Panel]:
        return [Panel(name, values.iloc[[number]]) for number, name in enumerate(names)]

    def repair_numbers(self, values: pd.DataFrame, answers: Sequence[Any]) -> list[tuple[str, str]]:
        gaps = int(values.isna().to_numpy().sum())
        return [("cells filled in", str(gaps))] if gaps else []

    def csv(self, panels: Sequence[Panel]) -> str:
        return _beside(panels).T.to_csv(index_label="panel")

    def png(self, panels: Sequence[Sequence[Panel]]) -> bytes:
        from matplotlib.transforms import Bbox

        from pipelines.report.theme import LIGHT, SMALL_SIZE, plain, png

        frame = _beside([panel for row in panels for panel in row])
        figure = LIGHT.figure(ROW_INCHES * (len(frame) + 2), layout=None)
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
        axes.set_axis_off()
        rows = [
            [plain(name, 26), *(plain(cell_text(value), 14) for value in values)] for name, values in frame.iterrows()
        ]
        head = ["", *(plain(name, 18) for name in frame.columns)]
        table = axes.table([head, *rows], cellLoc="right", bbox=Bbox.unit(), edges="open",
                           colWidths=[0.4, *[0.6 / len(frame.columns)] * len(frame.columns)])  # fmt: skip
        table.auto_set_font_size(False)
        for (line, column), cell in table.get_celld().items():
            cell.set_text_props(color=LIGHT.ink, fontsize=SMALL_SIZE, fontweight="normal" if line else "bold")
            if not column:
                cell.set_text_props(ha="left")
        return png(figure)

    def html(self, panels: Sequence[Panel]) -> str:
        frame = _beside(panels)
        head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in frame.columns)
        lines = []
        for name, values in frame.iterrows():
            texts = [html.escape(cell_text(value)) for value in values]
            cells = "".join(f"<td>{text}</td>" if text else '<td class="gap">missing</td>' for text in texts)
            lines.append(f'<tr><th scope="row">{html.escape(str(name))}</th>{cells}</tr>')
        return (
            f'<table><thead><tr><th scope="col">column</th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
        )


KIND = Tables()


def columns_of(subject: Subject) -> tuple[Column, ...]:
    """Returns the columns of a model of tables."""
    columns = subject.model.examples.columns
    assert columns is not None, "a model of tables"
    return columns


def _beside(panels: Sequence[Panel]) -> pd.DataFrame:
    """Returns panels of a table as the columns of one frame, with a line for each of the table's columns."""
    rows = {number: panel.values.iloc[0].astype(object) for number, panel in enumerate(panels)}
    return pd.DataFrame(rows).set_axis([panel.name for panel in panels], axis=1)


def cell_text(value: Any) -> str:
    """Returns a table's cell for the eye; empty for a missing one."""
    if pd.isna(value):
        return ""
    return f"{value:.5g}" if isinstance(value, float | np.floating) else plain_text(value)


def plain_text(value: Any) -> str:
    """Returns a value as a person would write it: a day without its midnight."""
    return str(value).removesuffix(" 00:00:00") if isinstance(value, pd.Timestamp) else str(value)


def read_row(subject: Subject, data: bytes, number: int = 0) -> tuple[pd.DataFrame, int]:
    """Returns a row of a CSV file, with None for an empty cell, and the number of rows in the file.

    Raises:
        DataError: If the file is too large or no CSV, if a column is missing, if a cell does not fit its column,
            or if the row does not exist.
    """
    columns = columns_of(subject)
    check_size(data)
    header, row, num_rows = _row_of(data, number)
    if len(row) != len(header):
        raise DataError(f"the file's row {number} has {len(row)} cells, its header {len(header)}; give each column one")
    if len(header) > len(columns) + MOST_UNKNOWN:  # to look for the column that each may have meant would take hours
        names = ", ".join(column.name for column in columns)
        raise DataError(f"the file has {len(header):,} columns, the model takes {len(columns)}: {names}"[:MOST_WORDS])
    try:
        frame_of(pd.DataFrame(columns=header), [column.name for column in columns], "the file", warn=False)
    except ValueError as error:
        raise DataError(str(error)[:MOST_WORDS]) from None
    names = {column.name for column in columns}
    cells = {name: cell for name, cell in zip(header, row, strict=True) if name in names}
    return with_cells(_empty_row(columns), json.dumps(cells), columns), num_rows


def _row_of(data: bytes, number: int) -> tuple[list[str], list[str], int]:
    """Returns the header of a CSV file, one of its rows, and the number of rows."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("the file cannot be used: it is no text in UTF-8; save the table as CSV, in UTF-8") from None
    # Office programs of some countries write semicolons or tabs instead of commas.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    csv.field_size_limit(MOST_FIELD_CHARACTERS)
    lines = (line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if line)
    num_rows, row = 0, None
    try:
        header = _cells_of(next(lines, []))
        for line in lines:
            if num_rows == number:
                row = _cells_of(line)
            num_rows += 1
    except csv.Error as error:
        raise DataError(f"the file cannot be used: it is no CSV, {error}") from None
    if not num_rows:
        raise DataError("the file cannot be used: expected a header with the columns' names, and a row below it")
    if row is None:
        raise DataError(f"the file has rows 0 to {num_rows - 1:,}; there is no other")
    return header, row, num_rows


def _cells_of(line: list[str]) -> list[str]:
    return [cell.strip()[:MOST_CELL] for cell in line]


def write_row(row: pd.DataFrame) -> str:
    """Returns a row as `json:…`, for a link."""
    return "json:" + json.dumps(_values_of(row), separators=(",", ":"))


def _empty_row(columns: tuple[Column, ...]) -> pd.DataFrame:
    return pd.DataFrame({column.name: [None] for column in columns}, dtype=object)


def with_cells(row: pd.DataFrame, cells: str, columns: tuple[Column, ...], where: str = "cells") -> pd.DataFrame:
    """Returns a row with the cells changed that the JSON of a link names.

    Raises:
        DataError: If a column is unknown, or a value does not fit its column.
    """
    if not cells:
        return row
    try:
        changes = json.loads(cells)
    except ValueError:
        changes = None
    if not isinstance(changes, dict):
        raise DataError(f"link, {where}: expected JSON of columns and values; it may have been cut off")
    by_name = {column.name: column for column in columns}
    if unknown := [name for name in changes if name not in by_name]:
        raise DataError(f"link, {where}: no column {unknown[0][:40]!r}; there are {', '.join(by_name)}")
    values = row.astype(object)
    for name, value in changes.items():
        values[name] = [_cell(value, by_name[name])]
    return values.infer_objects()


def write_cells(row: pd.DataFrame, changed: pd.DataFrame) -> str:
    """Returns the cells that differ, as `with_cells` reads them."""
    before = _values_of(row)
    differing = {name: value for name, value in _values_of(changed).items() if value != before[name]}
    return json.dumps(differing, separators=(",", ":")) if differing else ""


def _cell(value: Any, column: Column) -> Any:
    """Returns a cell as `predict` takes it: a number, a category's name, or None."""
    if value is None or value == "":
        return None
    if column.categories is not None:
        if str(value) not in column.categories:
            raise DataError(f"{column.name}: unknown {str(value)[:40]!r}; expected {', '.join(column.categories[:50])}")
        return str(value)
    if column.type == "time":
        return _time(value, column)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or isinstance(value, bool):
        raise DataError(f"{column.name}: expected a number, or nothing for a gap, got {str(value)[:40]!r}")
    return number


def _time(value: Any, column: Column) -> Any:
    transform = transform_of_column(column)
    try:
        return transform.write(transform.read(pd.Series([str(value)]), "cells"))[0]
    except ValueError:
        raise DataError(
            f"{column.name}: expected a date such as 2024-03-01, or nothing for a gap, got {str(value)[:40]!r}"
        ) from None


def _values_of(row: pd.DataFrame) -> dict[str, Any]:
    """Returns the cells of a row as JSON has them, None for missing ones."""
    values = ((name, row[name].iloc[0]) for name in row.columns)
    return {name: _json_of(value) for name, value in values}


def _json_of(value: Any) -> Any:
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return plain_text(value)
    return value.item() if isinstance(value, np.generic) else value
