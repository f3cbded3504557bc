"""A chunk of a source's rows becomes a shard: anywhere, in any order, and once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.data.sources import Problem, Reader
from vae.data.manifest import Shard, SplitName
from vae.data.parquet import write_shard
from vae.data.rows import IMAGE, LABEL, SOURCE_ROW, arrow_schema
from vae.data.schema import ExampleSpec
from vae.storage import locate, sha256_of, write_whole


class Chunk(NamedTuple):
    """A run of a split's shuffled rows, and the shard it becomes."""

    split: SplitName
    start: int
    stop: int
    shard: str


@dataclass(frozen=True)
class ChunkWork:
    """What writing a chunk needs, and no more: it travels to every worker."""

    dataset_id: str
    reader: Reader
    example: ExampleSpec
    order: dict[SplitName, NDArray[np.int64]]
    labels: NDArray[np.int32] | None
    chunks: tuple[Chunk, ...]
    group_rows: int
    attribute_values: NDArray[np.float32] | None = None


class ChunkRecord(BaseModel):
    """What became of a chunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    split: SplitName
    start: int
    stop: int
    shard: Shard | None
    """None where no example of the chunk was good."""
    class_counts: tuple[int, ...]
    problems: tuple[Problem, ...]
    reused: bool = False
    """Whether an earlier, unfinished ingest had written it."""


def write_chunk(work: ChunkWork, chunk_index: int, staging_uri: str) -> ChunkRecord:
    """Decode a chunk's examples and write its shard, unless an earlier ingest did.

    Raises:
        DataError: If the source changed since it was surveyed, or the disk is full.
    """
    chunk = work.chunks[chunk_index]
    folder = locate(staging_uri)
    record_file = folder / f"{chunk.shard}.json"
    earlier = _earlier_record(staging_uri, chunk_index, chunk)
    if earlier is not None:
        return earlier
    block = work.reader.read(work.order[chunk.split][chunk.start : chunk.stop])
    labels = None if work.labels is None else work.labels[block.kept]
    shard = None
    if len(block.kept):
        shard = write_shard(folder / chunk.shard, _assemble(work, block.kept, block.examples, labels), work.group_rows)
    counts = () if labels is None else np.bincount(labels, minlength=len(work.example.classes or ())).tolist()
    record = ChunkRecord(
        index=chunk_index,
        split=chunk.split,
        start=chunk.start,
        stop=chunk.stop,
        shard=shard,
        class_counts=tuple(counts),
        problems=block.problems,
    )
    # After the shard, so that a record means a whole shard.
    write_whole(record_file, record.model_dump_json().encode())
    return record


def _assemble(
    work: ChunkWork,
    kept: NDArray[np.int64],
    examples: NDArray[np.uint8] | pa.Table,
    labels: NDArray[np.int32] | None,
) -> pa.Table:
    schema = arrow_schema(work.example)
    if isinstance(examples, pa.Table):
        features = [name for name in schema.names if name not in (LABEL, SOURCE_ROW)]
        columns: list[Any] = [examples[name] for name in features]
    else:
        kind = schema.field(IMAGE).type
        columns = [pa.FixedSizeBinaryArray.from_buffers(kind, len(kept), [None, pa.py_buffer(examples)])]
    if labels is not None:
        columns.append(pa.array(labels, pa.int32()))
    if work.attribute_values is not None:
        columns += [pa.array(values, pa.float32()) for values in work.attribute_values[kept].T]
    return pa.table([*columns, pa.array(kept, pa.int64())], schema=schema)


def _earlier_record(staging_uri: str, index: int, chunk: Chunk) -> ChunkRecord | None:
    """The record of a chunk an earlier ingest wrote, if its shard still is what it says."""
    record_file, shard_file = locate(staging_uri) / f"{chunk.shard}.json", locate(staging_uri) / chunk.shard
    if record_file.info().type != fs.FileType.File:
        return None
    try:
        record = ChunkRecord.model_validate_json(record_file.read())
    except ValidationError:
        return None  # cut short, where files are not written whole: the chunk is written again
    if (record.index, record.split, record.start, record.stop) != (
        index,
        chunk.split,
        chunk.start,
        chunk.stop,
    ):
        return None
    if record.shard is not None and (
        shard_file.info().size != record.shard.bytes or sha256_of(shard_file) != record.shard.sha256
    ):
        return None
    return record.model_copy(update={"reused": True})
