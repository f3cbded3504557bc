"""Rows of a dataset: how Arrow's columns become arrays, and which columns a shard has.

Shapes: N rows, D values of an example (C·H·W of an image, columns of a table), A attributes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vae.data.schema import Column, ExampleSpec
from vae.errors import CorruptData

IMAGE, LABEL, SOURCE_ROW = "image", "label", "source_row"
ATTRIBUTE = "attribute."
"""Before an attribute's name, so that it is nobody else's."""


class Rows(NamedTuple):
    """A contiguous range of a split."""

    values: NDArray[np.uint8 | np.float64]
    """[N,D]: of images uint8 in the order C, H, W; of tables float64, numbers in their own unit, categories as codes, NaN
    where missing. May be read-only, where it is a view of what was read."""
    labels: NDArray[np.int64] | None
    """[N]: indices into the manifest's classes; None where there are none."""
    attributes: NDArray[np.float32] | None = None
    """[N,A] in the order of the manifest's attributes: numbers in their own unit, categories as codes, NaN where missing.
    None where the dataset has none."""
    observed: NDArray[np.bool_] | None = None
    """[N,D]: which values of an image are there; None where all are. A table says it by NaN."""

    def each(self, change: Callable[[NDArray], NDArray]) -> Rows:
        """The same change to every field there is."""
        return Rows(*(None if field is None else change(field) for field in self))  # pyright: ignore[reportArgumentType]


def empty_rows(example: ExampleSpec, num_rows: int) -> Rows:
    """Rows to be filled, as the dataset has them."""
    return Rows(
        np.empty((num_rows, example.num_values), np.uint8 if example.columns is None else np.float64),
        None if example.classes is None else np.empty(num_rows, np.int64),
        np.empty((num_rows, len(example.attributes)), np.float32) if example.attributes else None,
    )


def fill(target: Rows, start: int, source: Rows) -> None:
    """Write rows into others, from `start` on."""
    for there, here in zip(target, source, strict=True):
        if there is not None and here is not None:
            there[start : start + len(here)] = here


def arrow_schema(example: ExampleSpec) -> pa.Schema:
    """The schema of a dataset's shards."""
    if example.columns is None:
        metadata = {"shape": json.dumps(example.shape), "layout": "CHW", "dtype": "uint8"}
        fields = [pa.field(IMAGE, pa.binary(example.row_bytes), nullable=False, metadata=metadata)]
    else:
        fields = [pa.field(column.name, pa.type_for_alias(column.dtype)) for column in example.columns]
    if example.classes is not None:
        fields.append(pa.field(LABEL, pa.int32(), nullable=False))
    # Encoded already: it is read beside pixels, at their speed.
    fields += [pa.field(ATTRIBUTE + column.name, pa.float32(), nullable=False) for column in example.attributes]
    fields.append(pa.field(SOURCE_ROW, pa.int64(), nullable=False))
    return pa.schema(fields)


def stored_columns(example: ExampleSpec) -> list[str]:
    """The columns that `rows_of` reads."""
    names = [IMAGE] if example.columns is None else [column.name for column in example.columns]
    labels = [] if example.classes is None else [LABEL]
    return [*names, *labels, *(ATTRIBUTE + column.name for column in example.attributes)]


def rows_of(table: pa.Table, example: ExampleSpec, part: slice) -> Rows:
    """Some rows of `stored_columns`; an image's values are a view.

    Raises:
        CorruptData: If a category is none of the manifest's.
    """
    attributes = example.attributes
    if example.columns is None:
        values = pixels_of(table.column(IMAGE), example.row_bytes)[part]
    else:
        values = encode(table.slice(part.start, part.stop - part.start), example.columns)
    labels = None if example.classes is None else table.column(LABEL).to_numpy()[part].astype(np.int64)
    if not attributes:
        return Rows(values, labels)
    columns = [table.column(ATTRIBUTE + column.name).to_numpy()[part] for column in attributes]
    return Rows(values, labels, np.stack(columns, axis=1))


def encode(table: pa.Table, columns: Iterable[Column]) -> NDArray[np.float64]:
    """Returns columns as float64 [N,D]: numbers in their own unit, categories as codes, null as NaN.

    Raises:
        CorruptData: If a category is none of its column's.
    """
    columns = tuple(columns)
    values_ND = np.empty((table.num_rows, len(columns)))
    for number, column in enumerate(columns):
        stored = table.column(column.name)
        if column.categories is not None:
            values_ND[:, number] = _codes(stored, column.name, column.categories)
        else:
            values_ND[:, number] = pc.cast(stored, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values_ND


def _codes(column: pa.ChunkedArray, name: str, categories: tuple[str, ...]) -> NDArray[np.float64]:
    code = {category: float(number) for number, category in enumerate(categories)}
    pieces = [np.empty(0)]
    for chunk in column.chunks:
        found = chunk.dictionary_encode()
        unknown = [value for value in found.dictionary.to_pylist() if str(value) not in code]
        if unknown:
            raise CorruptData(f"column {name!r} holds {unknown[0]!r}, which is none of its {len(code)} categories")
        codes = np.array([*(code[str(value)] for value in found.dictionary.to_pylist()), np.nan])
        pieces.append(codes[found.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)])
    return np.concatenate(pieces)


def pixels_of(column: pa.ChunkedArray, row_bytes: int) -> NDArray[np.uint8]:
    """A fixed-size binary column as an array [N, row_bytes]: a view where the column is one chunk."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunk at all, or more than one array can hold
        pieces = [pixels_of(pa.chunked_array([chunk]), row_bytes) for chunk in array.chunks]
        return np.concatenate([np.empty((0, row_bytes), np.uint8), *pieces])
    data = array.buffers()[1]
    flat = np.frombuffer(data, np.uint8, count=len(array) * row_bytes, offset=array.offset * row_bytes)
    return flat.reshape(len(array), row_bytes)
