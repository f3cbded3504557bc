"""Parquet files whose rows hold encoded images, as Hugging Face publishes datasets.

The images are a column of bytes, or of bytes and paths. Class names are in the schema's metadata, splits in the names of
the files.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.attributes import survey_attributes
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.decoding import ImageShape, common_shape, readings_of
from pipelines.data.sources.encoded import EncodedReader, probe_images
from pipelines.data.sources.folders import HiveKeys, notes_on_keys, own_splits
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.segments import starts_of
from pipelines.data.sources.spreading import Files, spread
from pipelines.data.sources.survey import Listing, Source, Survey, read_unchanged
from pipelines.data.sources.tables.parquet import SUFFIXES, read_schema, unfold
from pipelines.data.sources.tables.raw import check_same_columns
from pipelines.data.sources.tables.survey import RowLocator, group_files
from vae.data.manifest import SourceFile
from vae.data.schema import Column, ExampleSpec
from vae.errors import DataError

_LABEL = "label"


@dataclass(frozen=True)
class EncodedGroup:
    """Neighbouring files of encoded images."""

    listing: Listing
    files: tuple[SourceFile, ...]
    column: str

    def load(self) -> pa.ChunkedArray:
        """Returns the encoded images of the files."""
        columns = []
        for file in self.files:
            table = unfold(io.BytesIO(read_unchanged(self.listing, file)), file.path, columns=[self.column])
            columns.append(_bytes_of(table[self.column]))
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks])


@dataclass(frozen=True)
class ColumnPlaces:
    """Places of the values of one column."""

    rows: RowLocator
    column: str

    def problem(self, row: int, what: str) -> Problem:
        """Returns a problem of one value."""
        return self.rows.problem(row, what, self.column)


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the files; see `Source.survey`."""
    paths = listing.matching(SUFFIXES)
    schema = _first_schema(listing, paths)
    column, label = _choose(schema, paths[0], config)
    others: list[str] = sorted({*config.attributes, *([] if label is None else [label])})
    parts = spread(partial(_read, listing, config, schema, column, others), paths, listing.only(paths).sizes)
    files, tables, shapes, problems = ([each for one in field for each in one] for field in zip(*parts, strict=True))
    sizes = [len(table) for table in tables]
    example = common_shape(shapes, config, listing.root, problems)
    table = pa.concat_tables(tables)
    classes, labels = (None, None) if label is None else _classes(table[label], schema, paths[0], label)
    columns, values = _attributes(table, listing.root, config)
    reader, groups = _reader(listing, files, sizes, column, example, config)
    readings = readings_of(shapes)
    return Survey(
        files=tuple(files),
        example=example,
        num_rows=len(shapes),
        reader=reader,
        classes=classes,
        labels=labels,
        attributes=columns,
        attribute_values=values,
        own_splits=own_splits(paths, sizes),
        excluded=np.array([shape is None for shape in shapes]),
        groups=groups,
        problems=tuple(problems),
        notes=(*notes_on_keys(paths, HiveKeys()), *readings.values()),
        reading=tuple(readings),
    )


class _Read(NamedTuple):
    """Facts of some consecutive files."""

    files: list[SourceFile]
    tables: list[pa.Table]
    """Columns beside the images."""
    shapes: list[ImageShape | None]
    problems: list[Problem]


def _read(
    listing: Listing, config: IngestConfig, schema: pa.Schema, column: str, others: Sequence[str], part: Files
) -> _Read:
    """Hashes the files of a part, and reads the headers of their images; called by whichever process has it."""
    found = _Read([], [], [], [])
    for path in part.paths:
        data, file = listing.read(path)
        check_same_columns(schema, read_schema(io.BytesIO(data), path, config)[0], listing.paths[0], path)
        table = unfold(io.BytesIO(data), path, config.max_memory_bytes, sorted({*others, column}))
        images = (image.as_py() or b"" for image in _bytes_of(table[column]))
        places = ColumnPlaces(RowLocator((path,), (range(len(table)),)), column)
        shapes, problems = probe_images(images, config, places.problem)
        found.files.append(file)
        found.tables.append(table.select(others))  # the images do not stay in memory
        found.shapes.extend(shapes)
        found.problems.extend(problems)
    return found


def _claims(config: IngestConfig, listing: Listing) -> list[str]:
    paths = listing.matching(SUFFIXES)
    return paths if paths and _byte_columns(_first_schema(listing, paths)) else []


SOURCE = Source("Parquet files of images", _claims, survey)
"""One Parquet file of encoded images, or a folder of them."""


def _reader(
    listing: Listing,
    files: Sequence[SourceFile],
    sizes: Sequence[int],
    column: str,
    example: ExampleSpec,
    config: IngestConfig,
) -> tuple[EncodedReader, NDArray[np.int32]]:
    """Returns the reader, and the group of each row."""
    groups, group_of_row = group_files(files, sizes)
    encoded = tuple(EncodedGroup(listing, group.files, column) for group in groups)
    starts = tuple(starts_of([group.num_rows for group in groups]).tolist())
    names = RowLocator(tuple(file.path for file in files), tuple(range(size) for size in sizes))
    return EncodedReader(encoded, starts, ColumnPlaces(names, column), example, config), group_of_row


def _first_schema(listing: Listing, paths: Sequence[str]) -> pa.Schema:
    where = listing.location(paths[0])
    with where.filesystem.open_input_file(where.path) as file:
        return read_schema(file, paths[0])[0]


def _byte_columns(schema: pa.Schema) -> list[str]:
    """Returns the columns of bytes, and of structs with a field `bytes`."""

    def is_bytes(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and is_bytes(field.type) for field in kind)
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    return [field.name for field in schema if is_bytes(field.type)]


def _choose(schema: pa.Schema, path: str, config: IngestConfig) -> tuple[str, str | None]:
    """Returns (column of images, column of labels)."""
    listed = ", ".join(f"{field.name} ({field.type})" for field in schema)
    columns = _byte_columns(schema)
    for wanted, allowed in ((config.image, columns), (config.label, schema.names)):
        if wanted is not None and wanted not in allowed:
            raise DataError(f"{path}: no column {wanted!r} that fits. Columns: {listed}")
    if config.image is None and len(columns) > 1:
        raise DataError(f"{path}: cannot tell which column holds the images. Columns: {listed}. Use --set image=COLUMN")
    absent = [name for name in config.attributes if name not in schema.names]
    if absent:
        raise DataError(f"{path}: no column {absent[0]!r}. Columns: {', '.join(schema.names)}")
    return config.image or columns[0], config.label or (_LABEL if _LABEL in schema.names else None)


def _attributes(
    table: pa.Table, where: str, config: IngestConfig
) -> tuple[tuple[Column, ...], NDArray[np.float32] | None]:
    attributes = pa.table({name: table[name] for name in config.attributes})  # NaN becomes null
    return survey_attributes(attributes, where, config.categorical)


def _bytes_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_struct(column.type):
        return column
    index = column.type.get_field_index("bytes")
    return pa.chunked_array([chunk.field(index) for chunk in column.chunks], column.type.field(index).type)


def _classes(
    values: pa.ChunkedArray, schema: pa.Schema, path: str, label: str
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Returns the classes, by the names in the schema's metadata if they fit, and the labels."""
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_string(values.type)):
        raise DataError(
            f"{path}: expected integers or text without gaps in the label column {label!r}, found "
            f"{values.type} with {values.null_count:,} missing"
        )
    present, indices = np.unique(values.to_numpy(), return_inverse=True)
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = described.get("info", {}).get("features", {}).get(label, {}).get("names")
    if names and present.dtype.kind == "i" and present.min() >= 0 and present.max() < len(names):
        return tuple(names), present[indices].astype(np.int32)
    return tuple(str(value) for value in present), indices.astype(np.int32)
