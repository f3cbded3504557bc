"""Parquet files of tables. Their schemas must agree, and their footers give their size before they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from pipelines.data.sources.config import MEMORY_ADVICE, IngestConfig
from pipelines.data.sources.survey import Listing, Source, Survey, read_unchanged
from pipelines.data.sources.tables import (
    Rejected,
    RowLocator,
    TableSegment,
    check_columns,
    is_number,
    is_text,
    survey_table,
)
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

SUFFIXES = (".parquet", ".pq")
_BATCH_ROWS = 1 << 14


@dataclass(frozen=True, kw_only=True)
class ParquetSegment(TableSegment):
    """Neighbouring Parquet files."""

    def load(self) -> pa.Table:
        """Returns the features of all rows of the files."""
        tables = [_read(read_unchanged(self.listing, file), file.path) for file in self.files]
        return pa.concat_tables(tables).select(list(self.columns))


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the files; see `Source.survey`."""
    files, tables, first = [], [], None
    for path in listing.matching(SUFFIXES):
        data, file = listing.read(path)
        files.append(file)
        schema = read_schema(data, path, config)
        first = first or schema
        check_drift(first, schema, files[0].path, path)
        check_columns(schema.names, path, config)
        _check_types(schema, path)
        tables.append(_read(data, path, config.max_memory_bytes))
    table = pa.concat_tables(tables)
    if not len(table):
        raise DataError(f"{listing.location(files[0].path).uri}: 0 examples. The file has no rows")
    names = RowLocator(tuple(file.path for file in files), tuple(len(one) for one in tables), 0)
    rejected = Rejected(names, [], np.zeros(len(table), bool))
    return survey_table(table, files, rejected, partial(ParquetSegment, listing=listing), config)


SOURCE = Source(claims=lambda listing: bool(listing.matching(SUFFIXES)), survey=survey)
"""One Parquet file, or a folder of Parquet files with the same schema."""


def read_schema(data: bytes, path: str, config: IngestConfig | None = None) -> pa.Schema:
    """Reads a Parquet file's schema, and checks its size against the configuration's limit if there is one.

    Raises:
        DataError: If the file has no footer, or would unfold to more bytes than the limit.
    """
    try:
        footer = pq.read_metadata(pa.BufferReader(data))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a whole Parquet file: {error}. Fetch or write it again") from error
    # Encodings can hide far more rows than bytes: count what the rows become in memory, too.
    unfolded = sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))
    size = max(unfolded, footer.num_rows * footer.num_columns * 8)
    if config is not None and size > config.max_memory_bytes:
        raise DataError(
            f"{path}: {footer.num_rows:,} rows of {footer.num_columns} columns unfold to {size:,} bytes, "
            f"above the limit of {config.max_memory_bytes:,}. {MEMORY_ADVICE}"
        )
    return footer.schema.to_arrow_schema()


def check_drift(expected: pa.Schema, found: pa.Schema, first_path: str, path: str) -> None:
    """Checks that a schema is the first file's.

    Raises:
        DataError: If not; names the columns that are missing, extra, or of another type.
    """
    before, after = _fingerprint(expected), _fingerprint(found)
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


def _fingerprint(schema: pa.Schema) -> str:
    return hashlib.sha256("\n".join(f"{f.name}\t{f.type}" for f in schema).encode()).hexdigest()


def _check_types(schema: pa.Schema, path: str) -> None:
    strange = [f"{field.name!r} ({field.type})" for field in schema if not _is_allowed(field.type)]
    if strange:
        raise DataError(
            f"{path}: expected columns of numbers, booleans or text, found {', '.join(strange)}. Convert or remove them"
        )


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns text as plain strings, and NaN, which other tools write for missing, as null."""
    if pa.types.is_dictionary(values.type) or pa.types.is_large_string(values.type):
        return pc.cast(values, pa.string())
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values


def _is_allowed(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return is_number(kind) or is_text(kind)


def unfold(data: bytes, path: str, limit: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns the rows of a Parquet file.

    Args:
        data: Bytes of the file.
        path: Name of the file, for messages.
        limit: Largest size in memory in bytes, up to a batch; None for a file that was checked before. The pages may
            unfold to more than the footer says, and every row may repeat one long entry of a dictionary.
        columns: Names of the columns; None for all.

    Raises:
        DataError: If the file cannot be read, or unfolds to more than the limit.
    """
    batches, size = [], 0
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            schema = file.schema_arrow if columns is None else pa.schema([file.schema_arrow.field(c) for c in columns])
            for batch in file.iter_batches(_BATCH_ROWS, columns=None if columns is None else list(columns)):
                size += batch.nbytes
                if limit is not None and size > limit:
                    raise DataError(f"{path}: unfolds to more than the limit of {limit:,} bytes. {MEMORY_ADVICE}")
                batches.append(batch)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}. Fetch or write it again") from error
    return pa.Table.from_batches(batches, schema)


def _read(data: bytes, path: str, limit: int | None = None) -> pa.Table:
    table = unfold(data, path, limit)
    return pa.table({name: plain(table[name]) for name in table.column_names})
