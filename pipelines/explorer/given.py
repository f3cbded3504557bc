"""What a person gives, as one example: a row of the data, a file, a drawing, cells of a table.

Files and drawings go through the reader that ingest has, with its limits: what is above them is never decoded.

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
from vae.data.tables import read_rows
from vae.errors import DataError

MOST_BYTES = 8 << 20
"""Of a file."""
MOST_PIXELS = 1 << 24
"""Of an image, as a good camera takes it."""
MOST_CELL = 200
"""Characters of a table's cell, or of a column's name."""
MOST_UNKNOWN = 100
"""Columns of a file beyond those that the model takes."""
MOST_WORDS = 1000
"""Characters of what is said of a file."""
LIKELIEST_SAMPLES = 16


@dataclass(frozen=True)
class Example:
    """One example, and where it is from."""

    values: Any
    """An image uint8 [1,C,H,W], or a data frame of one row."""
    row: int | None = None
    """Its number, where it is one of the data's."""


def example_of(subject: Subject, x: str, where: str = "x") -> Example:
    """The example that a link names.

    Raises:
        DataError: If there is none; says what there is.
    """
    kind, _, rest = x.partition(":")
    columns = subject.examples.columns
    if kind == "png" and columns is None:
        return Example(read_image(subject, _unpack(rest, where)))
    if kind == "json" and columns is not None:
        return Example(with_cells(_gaps(columns), rest, columns, where))
    if x and kind != "row":
        own = "png" if columns is None else "json"
        raise DataError(f"link, {where}: expected row:NUMBER or {own}:…, got {x[:40]!r}")
    if subject.rows is None:
        return Example(_blank(subject))
    number = int(rest) if rest.isdecimal() and len(rest) < 10 else 0 if not x else -1
    if not 0 <= number < len(subject.rows):
        raise DataError(f"link, {where}: no row {rest[:20]!r}; there are 0 to {len(subject.rows) - 1}")
    return Example(subject.rows.take([number]), number)


def read_image(subject: Subject, data: bytes) -> NDArray[np.uint8]:
    """An image file as the model's examples are, uint8 [1,C,H,W]: resized and recoloured as ingest does it.

    Raises:
        DataError: If it is too large, or no image.
    """
    _check_size(data)
    channels, height, width = subject.examples.shape
    config = IngestConfig(
        source="upload",
        name="upload",
        resize=(height, width),
        color="grey" if channels == 1 else "rgb",
        frames="first",
        bit_depth="scale",
        max_pixels=MOST_PIXELS,
    )
    try:
        return decode(data, config)[None]
    except BadImage as error:
        raise DataError(f"the file cannot be used: {str(error).partition(' (--set')[0]}") from None


def _check_size(data: bytes) -> None:
    if len(data) > MOST_BYTES:
        raise DataError(f"the file has {len(data):,} bytes, above the limit of {MOST_BYTES:,}; give a smaller one")


def write_image(values: NDArray[np.uint8]) -> str:
    """An image [1,C,H,W] as `png:…`, for a link."""
    return "png:" + base64.urlsafe_b64encode(png_bytes(values[0])).decode().rstrip("=")


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """An image [C,H,W] as a PNG of its own size."""
    buffer = io.BytesIO()
    picture = Image.fromarray(image[0]) if len(image) == 1 else Image.fromarray(image.transpose(1, 2, 0))
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def read_holes(subject: Subject, holes: str) -> NDArray[np.bool_] | None:
    """Where an image is rubbed out, [H,W]; None for nowhere."""
    if not holes:
        return None
    image = read_image(subject, _unpack(holes, "holes"))
    found = image[0].max(0) > 127
    return found if found.any() else None


def write_holes(holes: NDArray[np.bool_]) -> str:
    """What `read_holes` reads."""
    mask = np.where(holes, 255, 0).astype(np.uint8)[None]
    return base64.urlsafe_b64encode(png_bytes(mask)).decode().rstrip("=") if holes.any() else ""


def from_data_url(url: str) -> bytes:
    """The bytes of an image that a canvas gave.

    Raises:
        DataError: If it is something else.
    """
    head, _, body = url.partition(",")
    if head != "data:image/png;base64":
        raise DataError("the drawing is no PNG; reload the page")
    return _unpack(body, "drawing")


def _unpack(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"link, {where}: not base64; it may have been cut off") from None


def damaged(
    image: NDArray[np.uint8], noise: float, holes: NDArray[np.bool_] | None, seed: int
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """An image [1,C,H,W] with Gaussian noise and NaN where it is rubbed out; as it is where there is neither."""
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
    """A row of a CSV file, None where a cell is empty; and how many rows there are.

    Raises:
        DataError: If it is too large or no such file, if a column is not known or not there, or a cell is none of its; or
            if there is no such row.
    """
    columns = subject.examples.columns
    assert columns is not None, "tables are asked for rows"
    _check_size(data)
    header, row, num_rows = _row_of(data, number)
    if len(row) != len(header):
        raise DataError(f"the file's row {number} has {len(row)} cells, its header {len(header)}; give each column one")
    if len(header) > len(columns) + MOST_UNKNOWN:  # to look for what each was meant to be would take hours
        names = ", ".join(column.name for column in columns)
        raise DataError(f"the file has {len(header):,} columns, the model takes {len(columns)}: {names}"[:MOST_WORDS])
    try:
        read_rows(pd.DataFrame(columns=header), columns, "the file")
    except ValueError as error:
        raise DataError(str(error)[:MOST_WORDS]) from None
    return with_cells(_gaps(columns), json.dumps(dict(zip(header, row, strict=True))), columns), num_rows


def _row_of(data: bytes, number: int) -> tuple[list[str], list[str], int]:
    """Header, a row, and how many rows there are."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("the file cannot be used: it is no text in UTF-8; save the table as CSV, in UTF-8") from None
    # Whatever office wrote it: some put semicolons or tabs where others put commas.
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
    """A row as `json:…`, for a link."""
    return "json:" + json.dumps({name: _plain(row[name].iloc[0]) for name in row.columns}, separators=(",", ":"))


def _gaps(columns: tuple[Column, ...]) -> pd.DataFrame:
    """A row with nothing in it."""
    return pd.DataFrame({column.name: [None] for column in columns}, dtype=object)


def with_cells(row: pd.DataFrame, cells: str, columns: tuple[Column, ...], where: str = "cells") -> pd.DataFrame:
    """A row with some of its cells changed, as the JSON of a link says.

    Raises:
        DataError: If a column is not there, or a value is none of its.
    """
    if not cells:
        return row
    try:
        changes = json.loads(cells)
    except ValueError:
        changes = None
    if not isinstance(changes, dict):
        raise DataError(f"link, {where}: expected JSON of columns and values; it may have been cut off")
    known = {column.name: column for column in columns}
    if unknown := [name for name in changes if name not in known]:
        raise DataError(f"link, {where}: no column {unknown[0][:40]!r}; there are {', '.join(known)}")
    values = row.astype(object)
    for name, value in changes.items():
        values[name] = [_cell(value, known[name])]
    return values.infer_objects()


def write_cells(row: pd.DataFrame, changed: pd.DataFrame) -> str:
    """What `with_cells` reads: the cells that differ."""
    both = ((name, _plain(row[name].iloc[0]), _plain(changed[name].iloc[0])) for name in row.columns)
    found = {name: now for name, was, now in both if was != now}
    return json.dumps(found, separators=(",", ":")) if found else ""


def _cell(value: Any, column: Column) -> Any:
    """A cell as `predict` takes it: a number, a category's name, or None."""
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


def _plain(value: Any) -> Any:
    """A cell as JSON has it."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _blank(subject: Subject) -> Any:
    columns = subject.examples.columns
    if columns is None:
        return np.zeros((1, *subject.examples.shape), np.uint8)
    # A typical row: what is known of the data where no row of it is there.
    return pd.DataFrame(
        {column.name: [column.categories[0] if column.categories else round(column.mean, 4)] for column in columns}
    )


# --- what the model is told -----------------------------------------------------------------------------------------


def condition_of(subject: Subject, example: Example, told: str) -> list[str]:
    """What the model is told of an example, as `predict` takes it: what is said, else the row's own, else the likeliest."""
    if not subject.model.conditions:
        return []
    if told:
        return [told]
    if example.row is not None and subject.rows is not None and subject.rows.conditions is not None:
        return [subject.rows.conditions[example.row]]
    if not subject.conditions:
        return [subject.any_condition]
    many = len(subject.conditions)
    values = example.values
    repeated = pd.concat([values] * many, ignore_index=True) if subject.is_table else np.repeat(values, many, 0)
    scored = {"task": "score", "condition": list(subject.conditions), "num_samples": LIKELIEST_SAMPLES}
    return [subject.conditions[int(np.argmax(subject.ask(repeated, scored)))]]
