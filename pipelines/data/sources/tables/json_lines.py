"""JSON lines: one object a line."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.json

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables.encoding import COMPRESSIONS, decompressed
from pipelines.data.sources.tables.raw import RawTable
from vae.errors import DataError

SUFFIXES = tuple(ending + compression for ending in (".jsonl", ".ndjson") for compression in ("", *COMPRESSIONS))


def read(data: bytes, path: str, config: IngestConfig) -> RawTable:
    """Returns a file's rows; a key that a line lacks is null.

    Raises:
        DataError: If a line is no JSON object, or a key has values of several types.
    """
    text = decompressed(data, path, config.max_memory_bytes)
    if not text.strip():
        raise DataError(f"{path}: 0 examples. The file is empty")
    try:
        # One block: a key may be null in the first megabytes and a number below.
        options = pyarrow.json.ReadOptions(block_size=max(len(text), 1 << 20))
        return RawTable.typed(pyarrow.json.read_json(pa.BufferReader(text), options))
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: cannot be read as JSON lines: {error}. Give one object a line, with keys of one type"
        ) from error
