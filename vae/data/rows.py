"""Rows of a dataset as arrays, and the columns of the shards that store them.

Shapes: N rows, D values of an example (C·H·W of an image, columns of a table), A attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vae.data.schema import ExampleSpec
from vae.data.transforms import transform_of

LABEL, SOURCE_ROW = "label", "source_row"
ATTRIBUTE = "attribute."
"""Prefix of an attribute's column, which no other column has."""
IDENTIFIER = "identifier."
"""Prefix of a column that no model reads: it travels with its row, so that results can be told apart."""


class Rows(NamedTuple):
    """A contiguous range of a split."""

    values: NDArray[np.uint8 | np.float64]
    """[N,D]: of images uint8 in the order C, H, W; of tables float64, numbers in their own unit, categories as codes, NaN
    where missing. Read-only where it is a view of the file's memory."""
    labels: NDArray[np.int64] | None
    """Indices into the schema's classes, [N]; None for unlabelled data."""
    attributes: NDArray[np.float32] | None = None
    """Numbers in their own unit, categories as codes, NaN where missing, [N,A]; None for datasets without attributes."""
    observed: NDArray[np.bool_] | None = None
    """Mask of the observed values of images, [N,D]; None where all are. Tables have NaN instead."""

    def each(self, change: Callable[[NDArray], NDArray]) -> Rows:
        """Returns rows with the same change made to every field but None."""
        return Rows(*(None if field is None else change(field) for field in self))  # pyright: ignore[reportArgumentType]


def empty_rows(example: ExampleSpec, num_rows: int) -> Rows:
    """Returns rows to be filled."""
    return Rows(
        np.empty((num_rows, example.num_values), transform_of(example).dtype),
        None if example.classes is None else np.empty(num_rows, np.int64),
        np.empty((num_rows, len(example.attributes)), np.float32) if example.attributes else None,
    )


def holds_gaps(values: NDArray) -> bool:
    """Tells whether values mark what is missing by NaN; pixels and other whole numbers need a mask beside them."""
    return values.dtype.kind == "f"


def fill(target: Rows, start: int, source: Rows) -> None:
    """Writes rows into others, from `start` on."""
    for into, values in zip(target, source, strict=True):
        if into is not None and values is not None:
            into[start : start + len(values)] = values


def arrow_schema(example: ExampleSpec) -> pa.Schema:
    """Returns the schema of a dataset's shards."""
    fields = transform_of(example).fields()
    if example.classes is not None:
        fields.append(pa.field(LABEL, pa.int32(), nullable=False))
    # Attributes are stored encoded, so that they are read at the speed of pixels.
    fields += [pa.field(ATTRIBUTE + column.name, pa.float32(), nullable=False) for column in example.attributes]
    fields.append(pa.field(SOURCE_ROW, pa.int64(), nullable=False))
    return pa.schema(fields)


def stored_columns(example: ExampleSpec) -> list[str]:
    """Returns the columns that `rows_of` reads: all but the source's row numbers."""
    return arrow_schema(example).names[:-1]


def rows_of(table: pa.Table, example: ExampleSpec, part: slice) -> Rows:
    """Returns some rows of a shard; an image's values are a view.

    Raises:
        CorruptData: If a category is none of the schema's.
    """
    values = transform_of(example).from_arrow(table, part)
    labels = None if example.classes is None else table.column(LABEL).to_numpy()[part].astype(np.int64)
    if not example.attributes:
        return Rows(values, labels)
    columns = [table.column(ATTRIBUTE + column.name).to_numpy()[part] for column in example.attributes]
    return Rows(values, labels, np.stack(columns, axis=1))
