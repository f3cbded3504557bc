"""JSON lines: one object a line."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.json

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables.encoding import COMPRESSIONS, unfolded
from pipelines.data.sources.tables.raw import RawTable
from pipelines.data.sources.tables.spill import Spill, check_room
from vae.errors import DataError

SUFFIXES = tuple(ending + compression for ending in (".jsonl", ".ndjson") for compression in ("", *COMPRESSIONS))
_PIECE_BYTES = 1 << 24


def read(file: BinaryIO, path: str, config: IngestConfig) -> RawTable:
    """Returns a file's rows; a key that a line lacks is null.

    The file is read twice: a key may be null in the first megabytes and a number below.

    Raises:
        DataError: If a line is no JSON object, or a key has values of several types.
    """

    def pieces() -> Iterator[bytes]:
        return _whole_lines(unfolded(file, path, config.max_memory_bytes))

    if not any(piece.strip() for piece in pieces()):
        raise DataError(f"{path}: 0 examples. The file is empty")
    check_room(path, file.seek(0, io.SEEK_END))
    try:
        return RawTable.typed(_parsed(pieces))
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: cannot be read as JSON lines: {error}. Give one object a line, with keys of one type"
        ) from error


def _parsed(pieces: Callable[[], Iterator[bytes]]) -> pa.Table:
    schema = pa.schema([])
    for piece in pieces():
        schema = _joined(schema, _table(piece).schema)
    rows = Spill(schema)
    for piece in pieces():
        for batch in _table(piece, schema).select(schema.names).combine_chunks().to_batches():
            rows.write(batch)
    return rows.table()


def _table(piece: bytes, schema: pa.Schema | None = None) -> pa.Table:
    if not piece.strip():
        return (schema or pa.schema([])).empty_table()
    whole = pyarrow.json.ReadOptions(use_threads=False, block_size=max(len(piece), 1 << 20))
    return pyarrow.json.read_json(pa.BufferReader(piece), whole, pyarrow.json.ParseOptions(explicit_schema=schema))


def _joined(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    """Returns the keys of both; one whose texts all look like times in one piece alone is text."""
    for name in {*one.names} & {*other.names}:
        kinds = [schema.field(name).type for schema in (one, other)]
        if any(map(pa.types.is_timestamp, kinds)) and any(map(pa.types.is_string, kinds)):
            one, other = (
                schema.set(schema.get_field_index(name), pa.field(name, pa.string())) for schema in (one, other)
            )
    return pa.unify_schemas([one, other], promote_options="permissive")


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yields a text in pieces of some megabytes that end where a line does."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= _PIECE_BYTES and (stop := held.rfind(b"\n") + 1):
            yield bytes(held[:stop])
            del held[:stop]
    if held:
        yield bytes(held)
