"""Writing of chunks: a run of a source's rows becomes a shard, on any worker and in any order, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.data.sources import Block, Problem, Survey
from vae.data.manifest import Shard, SplitName
from vae.data.parquet import write_shard
from vae.data.rows import IDENTIFIER, LABEL, SOURCE_ROW, arrow_schema
from vae.data.transforms import transform_of
from vae.storage import locate, sha256_of, write_whole


class Chunk(NamedTuple):
    """A run of a split's shuffled rows, and the name of its shard."""

    split: SplitName
    start: int
    stop: int
    shard: str


@dataclass(frozen=True)
class ChunkWork:
    """The input of `write_chunk`; small, because every worker gets a copy."""

    dataset_id: str
    survey: Survey
    """The survey without its files, splits and problems."""
    order: dict[SplitName, NDArray[np.int64]]
    """Source rows of each split, shuffled."""
    chunks: tuple[Chunk, ...]
    group_rows: int
    """Number of rows of a row group."""


class ChunkRecord(BaseModel):
    """The result of a chunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    split: SplitName
    start: int
    stop: int
    shard: Shard | None
    """None if no example of the chunk is good."""
    class_counts: tuple[int, ...]
    problems: tuple[Problem, ...]
    reused: bool = False
    """Whether an earlier, unfinished ingest wrote the chunk."""


def write_chunk(work: ChunkWork, chunk_index: int, staging_uri: str) -> ChunkRecord:
    """Decodes a chunk's examples and writes its shard, unless an earlier ingest did.

    Raises:
        DataError: If the source has changed since the survey, or the disk is full.
    """
    chunk = work.chunks[chunk_index]
    folder = locate(staging_uri)
    record_file = folder / f"{chunk.shard}.json"
    earlier = _earlier_record(staging_uri, chunk_index, chunk)
    if earlier is not None:
        return earlier
    survey = work.survey
    block = survey.reader.read(work.order[chunk.split][chunk.start : chunk.stop])
    labels = None if survey.labels is None else survey.labels[block.kept]
    shard = None
    if len(block.kept):
        shard = write_shard(folder / chunk.shard, _assemble(survey, block, labels), work.group_rows)
    counts = () if labels is None else np.bincount(labels, minlength=len(survey.classes or ())).tolist()
    record = ChunkRecord(
        index=chunk_index,
        split=chunk.split,
        start=chunk.start,
        stop=chunk.stop,
        shard=shard,
        class_counts=tuple(counts),
        problems=block.problems,
    )
    # Written after the shard, so that a record means a whole shard.
    write_whole(record_file, record.model_dump_json().encode())
    return record


def _assemble(survey: Survey, block: Block, labels: NDArray[np.int32] | None) -> pa.Table:
    schema = arrow_schema(survey.schema)
    beside: dict[str, Any] = {}
    if isinstance(block.examples, pa.Table):
        examples: Any = block.examples
        given: dict[str, Any] = dict(zip(examples.column_names, examples.columns, strict=True))
        beside = {name: values for name, values in given.items() if name.startswith(IDENTIFIER)}
        columns: list[Any] = [given[name] for name in schema.names if name not in (LABEL, SOURCE_ROW)]
    else:
        transform: Any = transform_of(survey.schema)
        columns = transform.to_arrow(block.examples)
    if labels is not None:
        columns.append(pa.array(labels, pa.int32()))
    if survey.attribute_values is not None:
        columns += [pa.array(values, pa.float32()) for values in survey.attribute_values[block.kept].T]
    table = pa.table([*columns, pa.array(block.kept, pa.int64())], schema=schema)
    for name, values in beside.items():
        table = table.append_column(name, values)
    return table


def _earlier_record(staging_uri: str, index: int, chunk: Chunk) -> ChunkRecord | None:
    """Returns the record of a chunk from an earlier ingest, if its shard is still intact."""
    record_file, shard_file = locate(staging_uri) / f"{chunk.shard}.json", locate(staging_uri) / chunk.shard
    if record_file.info().type != fs.FileType.File:
        return None
    try:
        record = ChunkRecord.model_validate_json(record_file.read())
    except ValidationError:
        return None  # incomplete, on a store that does not write files whole: the chunk is written again
    same = (record.index, record.split, record.start, record.stop) == (index, *chunk[:3])
    shard = record.shard
    if not same or (shard and (shard_file.info().size != shard.bytes or sha256_of(shard_file) != shard.sha256)):
        return None
    return record.model_copy(update={"reused": True})
