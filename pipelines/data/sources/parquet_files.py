"""Parquet files as a source: their schemas must agree, and what they unfold to is known before it is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.parts import PartsReader
from pipelines.data.sources.survey import Listing, Survey, read_unchanged, source_file
from pipelines.data.sources.tables import RowNames, check_columns, group_files, survey_columns, table_part_rows
from vae.data.manifest import SourceFile
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

SUFFIXES = (".parquet", ".pq")
_BATCH_ROWS = 1 << 14
_TRUST = "Raise it with --set max_memory_bytes=N if you trust the source and have the memory"


@dataclass(frozen=True)
class ParquetPart:
    """Neighbouring files."""

    listing: Listing
    files: tuple[SourceFile, ...]
    first_row: int
    num_rows: int
    columns: tuple[str, ...]

    def load(self) -> pa.Table:
        """All their rows."""
        return pa.concat_tables([_read(read_unchanged(self.listing, file), file.path) for file in self.files]).select(
            list(self.columns)
        )

    def finish(self, raw: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
        """See `Part.finish`."""
        return table_part_rows(raw, rows, self.columns)


class ParquetSource:
    """One Parquet file, or a folder of them with the same schema."""

    @staticmethod
    def claims(listing: Listing) -> bool:
        """Whether there is a Parquet file."""
        return bool(listing.matching(SUFFIXES))

    @staticmethod
    def survey(config: IngestConfig, listing: Listing) -> Survey:
        """See `Source.survey`."""
        files, tables, first = [], [], None
        for path in listing.matching(SUFFIXES):
            data = listing.location(path).read()
            files.append(source_file(path, data))
            footer = read_footer(data, path)
            check_size(footer, path, config)
            schema = footer.schema.to_arrow_schema()
            first = first or schema
            check_drift(first, schema, files[0].path, path)
            check_columns(schema.names, path, config)
            _check_types(schema, path)
            tables.append(_read(data, path, config.max_memory_bytes))
        table = pa.concat_tables(tables)
        if not len(table):
            raise DataError(f"{listing.location(files[0].path).uri}: 0 examples. The file has no rows")
        starts = np.cumsum([0, *(len(one) for one in tables)])
        names = RowNames(tuple(file.path for file in files), tuple(starts[:-1].tolist()), 0)
        found = survey_columns(table, (), np.zeros(len(table), bool), names, config)
        features = tuple(column.name for column in found.spec.columns)
        sizes = {file.path: len(one) for file, one in zip(files, tables, strict=True)}
        parts: list[ParquetPart] = []
        for group in group_files(files):
            start, rows = sum(part.num_rows for part in parts), sum(sizes[file.path] for file in group)
            parts.append(ParquetPart(listing, tuple(group), start, rows, features))
        return Survey(
            files=tuple(files),
            example=found.spec,
            num_rows=len(table),
            reader=PartsReader(tuple(parts)),
            classes=found.classes,
            labels=found.labels,
            excluded=found.excluded,
            groups=np.repeat(np.arange(len(parts), dtype=np.int32), [part.num_rows for part in parts]),
            problems=found.problems,
        )


def schema_fingerprint(schema: pa.Schema) -> str:
    """SHA-256 of the columns' names and types, as hex."""
    return hashlib.sha256("\n".join(f"{f.name}\t{f.type}" for f in schema).encode()).hexdigest()


def read_footer(data: bytes, path: str) -> pq.FileMetaData:
    """A Parquet file's footer.

    Raises:
        DataError: If it has none.
    """
    try:
        return pq.read_metadata(pa.BufferReader(data))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a whole Parquet file: {error}. Fetch or write it again") from error


def check_size(footer: pq.FileMetaData, path: str, config: IngestConfig) -> None:
    """Refuse a file that would unfold to more than the configuration allows.

    Raises:
        DataError: With its rows and bytes.
    """
    # Encodings can hide far more rows than bytes: count what the rows become in memory, too.
    unfolded = sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))
    size = max(unfolded, footer.num_rows * footer.num_columns * 8)
    if size > config.max_memory_bytes:
        raise DataError(
            f"{path}: {footer.num_rows:,} rows of {footer.num_columns} columns unfold to {size:,} bytes, "
            f"above the limit of {config.max_memory_bytes:,}. {_TRUST}"
        )


def check_drift(expected: pa.Schema, found: pa.Schema, first_path: str, path: str) -> None:
    """Refuse a schema that is not the first file's.

    Raises:
        DataError: With what is missing, extra, or of another type.
    """
    before, after = schema_fingerprint(expected), schema_fingerprint(found)
    if before == after:
        return
    old, new = ({field.name: str(field.type) for field in schema} for schema in (expected, found))
    changes = [f"missing {name!r} ({old[name]})" for name in old if name not in new]
    changes += [f"extra {name!r} ({new[name]})" for name in new if name not in old]
    changes += [f"{n!r} is {new[n]}, expected {old[n]}" for n in old if n in new and old[n] != new[n]]
    raise DataError(
        f"{path}: schema {after[:12]} differs from {first_path}'s {before[:12]}: "
        f"{'; '.join(changes) or 'another order'}. Write all files with the same columns and types"
    )


def _check_types(schema: pa.Schema, path: str) -> None:
    strange = [f"{field.name!r} ({field.type})" for field in schema if not _is_allowed(field.type)]
    if strange:
        raise DataError(
            f"{path}: expected columns of numbers, booleans or text, found {', '.join(strange)}. Convert or remove them"
        )


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as plain strings, and NaN, which other tools write for missing, as null."""
    if pa.types.is_dictionary(values.type) or pa.types.is_large_string(values.type):
        return pc.cast(values, pa.string())
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values


def _is_allowed(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return is_number or _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def unfold(data: bytes, path: str, limit: int | None = None, columns: list[str] | None = None) -> pa.Table:
    """The rows of a Parquet file: all columns, or some.

    Args:
        data: The file.
        path: Its name, for messages.
        limit: At most so many bytes of them, and a batch. A footer may say less than what the pages unfold to, and an
            entry of a dictionary may be a long one that every row repeats. None where that has been checked.
        columns: Their names.

    Raises:
        DataError: If it cannot be read, or there are more.
    """
    batches, size = [], 0
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            schema = file.schema_arrow if columns is None else pa.schema([file.schema_arrow.field(c) for c in columns])
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                size += batch.nbytes
                if limit is not None and size > limit:
                    raise DataError(f"{path}: unfolds to more than the limit of {limit:,} bytes. {_TRUST}")
                batches.append(batch)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}. Fetch or write it again") from error
    return pa.Table.from_batches(batches, schema)


def _read(data: bytes, path: str, limit: int | None = None) -> pa.Table:
    """All columns, plain."""
    table = unfold(data, path, limit)
    return pa.table({name: plain(table[name]) for name in table.column_names})
