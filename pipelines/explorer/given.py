"""Examples that a person gives: a row of the data, a file, a drawing, or cells of a table.

Files and drawings go through the reader of ingest, with its limits: a file above them is never decoded.

Shapes: C channels, H height, W width.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.decoding import BadImage, decode
from pipelines.explorer.models import Subject
from vae.data.schema import Column
from vae.data.transforms import TableTransform
from vae.errors import DataError

MOST_BYTES = 8 << 20
"""Bytes of a file, at most."""
MOST_PIXELS = 1 << 24
"""Pixels of an image, at most: a good camera takes as many."""
MOST_CELL = 200
"""Characters of a table's cell, or of a column's name; the rest is cut off."""
MOST_UNKNOWN = 100
"""Columns of a file beyond those of the model, at most."""
MOST_WORDS = 1000
"""Characters of a message about a file; the rest is cut off."""
LIKELIEST_SAMPLES = 16


@dataclass(frozen=True)
class Example:
    """One example, and its row in the data."""

    values: Any
    """An image uint8 [1,C,H,W], or a data frame of one row."""
    row: int | None = None
    """Number of the row; None for an example that is not from the data."""


def example_of(subject: Subject, x: str, where: str = "x") -> Example:
    """Returns the example that a link names.

    Raises:
        DataError: If there is no such example; the message says what there is.
    """
    kind, _, rest = x.partition(":")
    if kind == "png" and subject.columns is None:
        return Example(read_image(subject, _unpack(rest, where)))
    if kind == "json" and subject.columns is not None:
        return Example(with_cells(_empty_row(subject.columns), rest, subject.columns, where))
    if x and kind != "row":
        own = "json" if subject.is_table else "png"
        raise DataError(f"link, {where}: expected row:NUMBER or {own}:…, got {x[:40]!r}")
    if subject.rows is None:
        return Example(_blank(subject))
    number = int(rest) if rest.isdecimal() and len(rest) < 10 else -1 if x else 0
    if not 0 <= number < len(subject.rows):
        raise DataError(f"link, {where}: no row {rest[:20]!r}; there are 0 to {len(subject.rows) - 1}")
    return Example(subject.rows.take([number]), number)


def pair_of(subject: Subject, first: Example, second: Example) -> Any:
    """Returns two examples as `predict` takes a pair: images uint8 [1,2,C,H,W], or a data frame of two rows."""
    if subject.is_table:
        return pd.concat([first.values, second.values], ignore_index=True)
    return np.concatenate([first.values, second.values])[None]


def condition_of(subject: Subject, example: Example, chosen: str) -> list[str]:
    """Returns the condition of an example for `predict`: the chosen one, else the row's own, else the likeliest."""
    if not subject.model.conditions:
        return []
    if chosen:
        return [chosen]
    if example.row is not None and subject.rows is not None and subject.rows.conditions is not None:
        return [subject.rows.conditions[example.row]]
    if not subject.conditions:
        return [subject.any_condition]
    many, values = len(subject.conditions), example.values
    repeated = pd.concat([values] * many, ignore_index=True) if subject.is_table else np.repeat(values, many, 0)
    scored = {"task": "score", "condition": list(subject.conditions), "num_samples": LIKELIEST_SAMPLES}
    return [subject.conditions[int(np.argmax(subject.ask(repeated, scored)))]]


def _blank(subject: Subject) -> Any:
    """Returns an example for a model without rows: a black image, or a typical row of its columns."""
    if subject.columns is None:
        return np.zeros((1, *subject.shape), np.uint8)
    typical = {c.name: [c.categories[0] if c.categories else round(c.mean, 4)] for c in subject.columns}
    return pd.DataFrame(typical)


# --- images ---------------------------------------------------------------------------------------------------------


def read_image(subject: Subject, data: bytes) -> NDArray[np.uint8]:
    """Returns an image file as an example of the model, uint8 [1,C,H,W], resized and recoloured as ingest does it.

    Raises:
        DataError: If the file is too large, or no image.
    """
    _check_size(data)
    channels, height, width = subject.shape
    config = IngestConfig(
        source="upload", name="upload", resize=(height, width), color="grey" if channels == 1 else "rgb",
        frames="first", bit_depth="scale", max_pixels=MOST_PIXELS,
    )  # fmt: skip
    try:
        return decode(data, config)[None]
    except BadImage as error:
        raise DataError(f"the file cannot be used: {str(error).partition(' (--set')[0]}") from None


def _check_size(data: bytes) -> None:
    if len(data) > MOST_BYTES:
        raise DataError(f"the file has {len(data):,} bytes, above the limit of {MOST_BYTES:,}; give a smaller one")


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """Returns an image [C,H,W] as a PNG of its own size."""
    buffer = io.BytesIO()
    picture = Image.fromarray(image[0]) if len(image) == 1 else Image.fromarray(image.transpose(1, 2, 0))
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_image(values: NDArray[np.uint8]) -> str:
    """Returns an image [1,C,H,W] as `png:…`, for a link."""
    return "png:" + _packed(values[0])


def read_holes(subject: Subject, holes: str) -> NDArray[np.bool_] | None:
    """Returns the pixels of an image that are erased [H,W]; None for none."""
    if not holes:
        return None
    erased = read_image(subject, _unpack(holes, "holes"))[0].max(0) > 127
    return erased if erased.any() else None


def write_holes(holes: NDArray[np.bool_]) -> str:
    """Returns erased pixels for a link, as `read_holes` reads them."""
    return _packed(np.where(holes, 255, 0).astype(np.uint8)[None]) if holes.any() else ""


def from_data_url(url: str) -> bytes:
    """Returns the bytes of an image that a canvas sent.

    Raises:
        DataError: If it is something else.
    """
    head, _, body = url.partition(",")
    if head != "data:image/png;base64":
        raise DataError("the drawing is no PNG; reload the page")
    return _unpack(body, "drawing")


def _packed(image: NDArray[np.uint8]) -> str:
    return base64.urlsafe_b64encode(png_bytes(image)).decode().rstrip("=")


def _unpack(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"link, {where}: not base64; it may have been cut off") from None


def damaged(
    image: NDArray[np.uint8], noise: float, holes: NDArray[np.bool_] | None, seed: int
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Returns an image [1,C,H,W] with Gaussian noise, and NaN for erased pixels; without either, the image itself."""
    if not noise and holes is None:
        return image
    values = image.astype(np.float32) / np.float32(255)
    if noise:
        values += np.random.default_rng(seed).normal(0, noise, values.shape).astype(np.float32)
    if holes is not None:
        values[..., holes] = np.nan
    return values


# --- tables ---------------------------------------------------------------------------------------------------------


def read_row(subject: Subject, data: bytes, number: int = 0) -> tuple[pd.DataFrame, int]:
    """Returns a row of a CSV file, with None for an empty cell, and the number of rows in the file.

    Raises:
        DataError: If the file is too large or no CSV, if a column is unknown or missing, if a cell does not fit its column,
            or if the row does not exist.
    """
    columns = subject.columns
    assert columns is not None, "rows are read for tables"
    _check_size(data)
    header, row, num_rows = _row_of(data, number)
    if len(row) != len(header):
        raise DataError(f"the file's row {number} has {len(row)} cells, its header {len(header)}; give each column one")
    if len(header) > len(columns) + MOST_UNKNOWN:  # to look for the column that each may have meant would take hours
        names = ", ".join(column.name for column in columns)
        raise DataError(f"the file has {len(header):,} columns, the model takes {len(columns)}: {names}"[:MOST_WORDS])
    try:
        TableTransform(subject.model.examples, columns).values_of(pd.DataFrame(columns=header), "the file")
    except ValueError as error:
        raise DataError(str(error)[:MOST_WORDS]) from None
    return with_cells(_empty_row(columns), json.dumps(dict(zip(header, row, strict=True))), columns), num_rows


def _row_of(data: bytes, number: int) -> tuple[list[str], list[str], int]:
    """Returns the header of a CSV file, one of its rows, and the number of rows."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("the file cannot be used: it is no text in UTF-8; save the table as CSV, in UTF-8") from None
    # Office programs of some countries write semicolons or tabs instead of commas.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
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
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or isinstance(value, bool):
        raise DataError(f"{column.name}: expected a number, or nothing for a gap, got {str(value)[:40]!r}")
    return number


def _values_of(row: pd.DataFrame) -> dict[str, Any]:
    """Returns the cells of a row as JSON has them, None for missing ones."""
    values = ((name, row[name].iloc[0]) for name in row.columns)
    return {n: None if pd.isna(v) else v.item() if isinstance(v, np.generic) else v for n, v in values}
