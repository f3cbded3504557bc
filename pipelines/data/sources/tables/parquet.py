"""Parquet files. Their footers give their size before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from pipelines.data.sources.config import MEMORY_ADVICE, IngestConfig
from pipelines.data.sources.tables.columns import is_text
from pipelines.data.sources.tables.raw import RawTable
from pipelines.data.sources.tables.spill import Spill
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

SUFFIXES = (".parquet", ".pq")
_BATCH_ROWS = 1 << 14


def read(data: bytes, path: str, config: IngestConfig) -> RawTable:
    """Returns a file's rows.

    Raises:
        DataError: If it cannot be read, or unfolds to more than the limit.
    """
    read_schema(data, path, config)
    return RawTable.typed(unfold(data, path, config.max_memory_bytes))


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


def _plain(values: pa.Array) -> pa.Array:
    """Returns text as plain strings, and NaN, which other tools write for missing, as null."""
    if is_text(values.type):
        return pc.cast(values, pa.string())
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values


def unfold(data: bytes, path: str, limit: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns the rows of a Parquet file, with text as plain strings, and null for NaN.

    Args:
        data: Bytes of the file.
        path: Name of the file, for messages.
        limit: Largest size in memory in bytes, up to a batch; None for a file that was checked before. The pages may
            unfold to more than the footer says, and every row may repeat one long entry of a dictionary.
        columns: Names of the columns; None for all.

    Raises:
        DataError: If the file cannot be read, or unfolds to more than the limit.
    """
    size = 0
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            found = file.schema_arrow
            fields = [found.field(name) for name in (found.names if columns is None else columns)]
            schema = pa.schema([one.with_type(pa.string()) if is_text(one.type) else one for one in fields])
            rows = Spill(schema.remove_metadata())
            for batch in file.iter_batches(_BATCH_ROWS, columns=None if columns is None else list(columns)):
                size += batch.nbytes
                if limit is not None and size > limit:
                    raise DataError(f"{path}: unfolds to more than the limit of {limit:,} bytes. {MEMORY_ADVICE}")
                rows.write(pa.RecordBatch.from_arrays([_plain(values) for values in batch.columns], schema=rows.schema))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}. Fetch or write it again") from error
    return rows.table()
