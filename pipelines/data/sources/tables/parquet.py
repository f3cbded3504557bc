"""Parquet files. Their footers give their size before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from pipelines.data.sources.config import MEMORY_ADVICE, IngestConfig
from pipelines.data.sources.tables.columns import is_number, is_text
from pipelines.data.sources.tables.raw import MOST_COLUMNS, RawTable
from pipelines.data.sources.tables.spill import Spill, check_room
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

SUFFIXES = (".parquet", ".pq")
_LEAST_BATCH_ROWS, _BATCH_ROWS, _BATCH_CELLS = 1 << 9, 1 << 14, 1 << 20
_READ_BUFFER_BYTES, _MOST_BUFFERS = 1 << 16, 512


def read(file: BinaryIO, path: str, config: IngestConfig) -> RawTable:
    """Returns a file's rows; they are read a few thousand at a time, whatever the size of a row group.

    Raises:
        DataError: If it cannot be read, or unfolds to more than the limit.
    """
    _, size = read_schema(file, path, config)
    check_room(path, size)
    return RawTable.typed(*_with_unfolded_lists(unfold(file, path, config.max_memory_bytes)))


def read_schema(file: BinaryIO, path: str, config: IngestConfig | None = None) -> tuple[pa.Schema, int]:
    """Reads a Parquet file's schema and its unfolded size, which is checked against the configuration's limit if given.

    Raises:
        DataError: If the file has no footer, or would unfold to more bytes than the limit.
    """
    try:
        footer = pq.read_metadata(file)
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
    return footer.schema.to_arrow_schema(), size


def _with_unfolded_lists(table: pa.Table) -> tuple[pa.Table, list[str]]:
    """Returns a table with a column for each place of lists of numbers that have one length, and what to say of them."""
    lengths = {name: _length_of_lists(table[name]) for name in table.column_names}
    if not any(lengths.values()):
        return table, []
    fields = [
        field
        for one in table.schema
        for field in (
            [one.with_name(f"{one.name}_{n}").with_type(one.type.value_type) for n in range(lengths[one.name])]
            if lengths[one.name]
            else [one]
        )
    ]
    rows = Spill(pa.schema(fields))
    for batch in table.to_batches():
        places = [
            _plain(pc.list_element(values, place)) if lengths[name] else values
            for name, values in zip(table.column_names, batch.columns, strict=True)
            for place in range(lengths[name] or 1)
        ]
        rows.write(pa.RecordBatch.from_arrays(places, schema=rows.schema))
    notes = [
        f"lists of {length:,} numbers in column {name!r} read as columns {name}_0 … {name}_{length - 1}"
        for name, length in lengths.items()
        if length
    ]
    return rows.table(), notes


def _length_of_lists(values: pa.ChunkedArray) -> int:
    """Returns the length of lists that are vectors; 0 if they are none, have several lengths, or too many places."""
    kind = values.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return 0
    lengths = pc.unique(pc.list_value_length(values).drop_null()).to_pylist()
    is_vector = (
        is_number(kind.value_type) if pa.types.is_fixed_size_list(kind) else pa.types.is_floating(kind.value_type)
    )
    return lengths[0] if is_vector and len(lengths) == 1 and lengths[0] <= MOST_COLUMNS else 0


def _plain(values: pa.Array) -> pa.Array:
    """Returns text as plain strings, and NaN, which other tools write for missing, as null."""
    if is_text(values.type):
        return pc.cast(values, pa.string())
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values


def unfold(file: BinaryIO, path: str, limit: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns the rows of a Parquet file, with text as plain strings, and null for NaN.

    Args:
        file: The file.
        path: Name of the file, for messages.
        limit: Largest size in memory in bytes, up to a batch; None for a file that was checked before. The pages may
            unfold to more than the footer says, and every row may repeat one long entry of a dictionary.
        columns: Names of the columns; None for all.

    Raises:
        DataError: If the file cannot be read, or unfolds to more than the limit.
    """
    size = 0
    try:
        # Each column has a buffer.
        buffer_size = _READ_BUFFER_BYTES if pq.read_metadata(file).num_columns <= _MOST_BUFFERS else 0
        with pq.ParquetFile(file, page_checksum_verification=True, buffer_size=buffer_size) as reader:
            found = reader.schema_arrow
            fields = [found.field(name) for name in (found.names if columns is None else columns)]
            schema = pa.schema([one.with_type(pa.string()) if is_text(one.type) else one for one in fields])
            rows = Spill(schema.remove_metadata())
            rows_at_once = max(_LEAST_BATCH_ROWS, min(_BATCH_ROWS, _BATCH_CELLS // max(1, len(fields))))
            for batch in reader.iter_batches(rows_at_once, columns=None if columns is None else list(columns)):
                size += batch.nbytes
                if limit is not None and size > limit:
                    raise DataError(f"{path}: unfolds to more than the limit of {limit:,} bytes. {MEMORY_ADVICE}")
                rows.write(pa.RecordBatch.from_arrays([_plain(values) for values in batch.columns], schema=rows.schema))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}. Fetch or write it again") from error
    return rows.table()
