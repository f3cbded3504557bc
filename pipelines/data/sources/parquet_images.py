"""Parquet files whose rows hold encoded images, as Hugging Face datasets are published.

The images are a column of bytes, or of bytes and paths; class names are in the schema's metadata, and splits in the
files' names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.attributes import survey_attributes
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.decoding import BadImage, ImageShape, common_shape, decode_rows, probe
from pipelines.data.sources.parquet_files import SUFFIXES, check_drift, check_size, plain, read_footer, unfold
from pipelines.data.sources.parts import load_once
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.survey import Block, Listing, Survey, read_unchanged, source_file
from pipelines.data.sources.tables import RowNames, group_files
from vae.data.manifest import Column, ImageSpec, SourceFile
from vae.errors import DataError

_LABEL = "label"
_SPLIT_PREFIXES = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class EncodedGroup:
    """Neighbouring files."""

    listing: Listing
    files: tuple[SourceFile, ...]
    column: str

    def load(self) -> pa.ChunkedArray:
        """Their encoded images."""
        data = ((file.path, read_unchanged(self.listing, file)) for file in self.files)
        columns = [_read_column(whole, path, self.column) for path, whole in data]
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks])


@dataclass(frozen=True)
class EncodedReader:
    """Decodes the images in the rows of Parquet files."""

    groups: tuple[EncodedGroup, ...]
    starts: tuple[int, ...]
    """The first row of each group."""
    names: RowNames
    column: str
    example: ImageSpec
    config: IngestConfig

    def read(self, rows: NDArray[np.int64]) -> Block:
        """See `Reader.read`."""
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        encoded = [b""] * len(rows)
        for owner in np.unique(owners).tolist():
            column = load_once(self.groups[owner])
            for index in np.flatnonzero(owners == owner).tolist():
                encoded[index] = column[int(rows[index]) - self.starts[owner]].as_py() or b""
        return decode_rows(
            rows, encoded, self.example, self.config, lambda row: self.names.problem(row, "", self.column)
        )


class ParquetImageSource:
    """One Parquet file of encoded images, or a folder of them."""

    @staticmethod
    def claims(listing: Listing) -> bool:
        """Whether the first Parquet file has a column of bytes."""
        paths = listing.matching(SUFFIXES)
        return bool(paths) and bool(_byte_columns(_schema(listing.location(paths[0]).read(), paths[0])))

    @staticmethod
    def survey(config: IngestConfig, listing: Listing) -> Survey:
        """See `Source.survey`."""
        found = _scan(config, listing)
        paths, sizes = [file.path for file in found.files], found.sizes
        example = common_shape(found.shapes, config, listing.root, found.problems)
        groups = group_files(found.files)
        rows_of = dict(zip(paths, sizes, strict=True))
        group_sizes = [sum(rows_of[file.path] for file in group) for group in groups]
        return Survey(
            files=tuple(found.files),
            example=example,
            num_rows=len(found.shapes),
            reader=EncodedReader(
                tuple(EncodedGroup(listing, tuple(group), found.column) for group in groups),
                _starts(group_sizes),
                RowNames(tuple(paths), _starts(sizes), 0),
                found.column,
                example,
                config,
            ),
            classes=found.classes,
            labels=found.labels,
            attributes=found.attributes,
            attribute_values=found.attribute_values,
            own_splits=_own_splits(paths, sizes),
            excluded=np.array([shape is None for shape in found.shapes]),
            groups=np.repeat(np.arange(len(groups), dtype=np.int32), group_sizes),
            problems=tuple(found.problems),
        )


@dataclass(frozen=True)
class _Scan:
    """What one pass over the files finds."""

    column: str
    files: list[SourceFile]
    sizes: list[int]
    """Rows of each file."""
    shapes: list[ImageShape | None]
    problems: list[Problem]
    classes: tuple[str, ...] | None
    labels: NDArray[np.int32] | None
    attributes: tuple[Column, ...]
    attribute_values: NDArray[np.float32] | None


def _scan(config: IngestConfig, listing: Listing) -> _Scan:
    paths = listing.matching(SUFFIXES)
    schema = _schema(listing.location(paths[0]).read(), paths[0])
    column, label = _choose(schema, paths[0], config)
    files, sizes, shapes, problems, values, attributes = [], [], [], [], [], []
    for path in paths:
        data = listing.location(path).read()
        files.append(source_file(path, data))
        check_drift(schema, _schema(data, path), paths[0], path)
        check_size(read_footer(data, path), path, config)
        encoded = _read_column(data, path, column, config.max_memory_bytes)
        sizes.append(len(encoded))
        for row, item in enumerate(encoded):
            found = _probe(item.as_py() or b"", config)
            shapes.append(found if isinstance(found, ImageShape) else None)
            if isinstance(found, str):
                problems.append(Problem(path, found, row, column))
        if label is not None:
            values.append(_read_labels(data, path, label, config.max_memory_bytes))
        attributes.append(_read_attributes(data, path, config))
    if not shapes:
        raise DataError(f"{paths[0]}: 0 examples. The file has no rows")
    classes, labels = (None, None) if label is None else _classes(np.concatenate(values), schema, label)
    known = survey_attributes(pa.concat_tables(attributes), listing.root, config.categorical)
    return _Scan(column, files, sizes, shapes, problems, classes, labels, *known)


def _starts(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(np.cumsum([0, *sizes])[:-1].tolist())


def _schema(data: bytes, path: str) -> pa.Schema:
    return read_footer(data, path).schema.to_arrow_schema()


def _byte_columns(schema: pa.Schema) -> list[str]:
    """Columns of bytes, and of structs that have a field `bytes`."""

    def is_bytes(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and is_bytes(field.type) for field in kind)
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    return [field.name for field in schema if is_bytes(field.type)]


def _choose(schema: pa.Schema, path: str, config: IngestConfig) -> tuple[str, str | None]:
    """(column of images, column of labels)."""
    listed = ", ".join(f"{field.name} ({field.type})" for field in schema)
    columns = _byte_columns(schema)
    for wanted, allowed in ((config.image, columns), (config.label, schema.names)):
        if wanted is not None and wanted not in allowed:
            raise DataError(f"{path}: no column {wanted!r} that fits. Columns: {listed}")
    if config.image is None and len(columns) > 1:
        raise DataError(f"{path}: cannot tell which column holds the images. Columns: {listed}. Use --set image=COLUMN")
    return config.image or columns[0], config.label or (_LABEL if _LABEL in schema.names else None)


def _read_attributes(data: bytes, path: str, config: IngestConfig) -> pa.Table:
    """The columns of attributes; NaN, which other tools write for missing, as null."""
    names = _schema(data, path).names
    absent = [name for name in config.attributes if name not in names]
    if absent:
        raise DataError(f"{path}: no column {absent[0]!r}. Columns: {', '.join(names)}")
    return pa.table(
        {name: plain(_read_column(data, path, name, config.max_memory_bytes)) for name in config.attributes}
    )


def _read_column(data: bytes, path: str, column: str, limit: int | None = None) -> pa.ChunkedArray:
    found = unfold(data, path, limit, [column])[column]
    if not pa.types.is_struct(found.type):
        return found
    index = found.type.get_field_index("bytes")
    return pa.chunked_array([chunk.field(index) for chunk in found.chunks], found.type.field(index).type)


def _probe(data: bytes, config: IngestConfig) -> ImageShape | str:
    if len(data) > config.max_file_bytes:
        return f"{len(data):,} bytes, above the limit of {config.max_file_bytes:,} (--set max_file_bytes=N)"
    try:
        return probe(data, config)
    except BadImage as error:
        return str(error)


def _read_labels(data: bytes, path: str, label: str, limit: int) -> NDArray[np.generic]:
    values = _read_column(data, path, label, limit)
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_string(values.type)):
        raise DataError(
            f"{path}: expected integers or text without gaps in the label column {label!r}, found "
            f"{values.type} with {values.null_count:,} missing"
        )
    return values.to_numpy(zero_copy_only=False)


def _classes(values: NDArray[np.generic], schema: pa.Schema, label: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    found, indices = np.unique(values, return_inverse=True)
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = described.get("info", {}).get("features", {}).get(label, {}).get("names")
    if names and found.dtype.kind == "i" and found.min() >= 0 and found.max() < len(names):
        return tuple(names), np.asarray(values, np.int32)
    return tuple(str(value) for value in found), indices.astype(np.int32)


def _own_splits(paths: Sequence[str], sizes: Sequence[int]) -> NDArray[np.uint8] | None:
    """The splits the files are named for, where all are and there are several."""
    found = [
        next((split for prefix, split in _SPLIT_PREFIXES.items() if path.split("/")[-1].startswith(prefix)), None)
        for path in paths
    ]
    if None in found or len(set(found)) < 2:
        return None
    return np.repeat(np.array(found, np.uint8), sizes)
