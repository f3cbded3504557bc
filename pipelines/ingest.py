"""A source becomes a dataset: plan, write chunks anywhere and in any order, publish.

The stages are plain functions. `ingest` strings them together and is told how to run the chunks: here, in a
pool of processes, or over a cluster. What a dataset is called follows from its content, so that the same
ingest twice is one dataset, and a killed one goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.publish import SOURCES_LISTED, publish_shards, quarantine, write_source_listing
from pipelines.sources import (
    IngestConfig,
    Problem,
    Reader,
    RejectedSource,
    SplitConfig,
    Survey,
    forget_parts,
    problems_as_json,
    survey_source,
)
from pipelines.splits import assign_splits, order_rows
from pipelines.staging import dataset_location, remove, staging, staging_location
from vae.data.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    SPLITS,
    ImageSpec,
    Manifest,
    Shard,
    SplitName,
    TableSpec,
    derive_dataset_id,
    derive_schema_fingerprint,
)
from vae.data.parquet import IMAGE, LABEL, SOURCE_ROW, Dataset, arrow_schema, rows_per_group, write_shard
from vae.data.storage import explain_full_disk, locate, sha256_of, write_whole
from vae.errors import DataError

__all__ = [
    "ChunkRecord",
    "DryRun",
    "IngestConfig",
    "IngestPlan",
    "IngestResult",
    "SplitConfig",
    "dry_run",
    "ingest",
    "plan",
    "publish",
    "write_chunk",
]

# A chunk is a shard: about a sixteenth of the source, so that a few workers share even a small one evenly.
_CHUNKS_WANTED, _MIN_CHUNK_BYTES, _MAX_CHUNK_BYTES = 16, 4 << 20, 128 << 20

_ADVICE = "Mend the source, or leave bad examples out with --on-bad quarantine"


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
    example: ImageSpec | TableSpec
    num_classes: int | None
    order: dict[SplitName, NDArray[np.int64]]
    labels: NDArray[np.int32] | None
    chunks: tuple[Chunk, ...]
    group_rows: int


@dataclass(frozen=True)
class IngestPlan:
    """All that an ingest will do. Picklable."""

    config: IngestConfig
    survey: Survey
    work: ChunkWork

    @property
    def dataset_id(self) -> str:
        """The identity of the dataset it makes."""
        return self.work.dataset_id

    @property
    def num_rows(self) -> dict[SplitName, int]:
        """Rows planned for each split, before any that cannot be decoded are left out."""
        return {split: len(rows) for split, rows in self.work.order.items()}


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


@dataclass(frozen=True)
class IngestResult:
    """A published dataset."""

    dataset_id: str
    uri: str
    name: str
    rows: dict[SplitName, int]
    classes: tuple[str, ...] | None
    reused: bool
    """Whether it was there already; nothing was written then."""
    rejected: int
    quarantine_uri: str | None
    notes: tuple[str, ...]
    survey_seconds: float
    """Time to list, hash and check the source."""
    seconds: float
    """Time to decode and write; 0 where the dataset was there."""
    images_per_second: float
    """Examples decoded and written in that time."""
    resumed_chunks: int
    """Chunks an earlier, unfinished ingest had written."""


@dataclass(frozen=True)
class DryRun:
    """What an ingest would do."""

    dataset_id: str
    uri: str
    exists: bool
    rows: dict[SplitName, int]
    classes: tuple[str, ...] | None
    example: ImageSpec | TableSpec
    chunks: int
    estimated_bytes: int
    """Before compression."""
    num_sources: int
    source_bytes: int
    problems: tuple[Problem, ...]
    """Examples that would be left out, where the configuration allows it."""
    notes: tuple[str, ...]


def plan(config: IngestConfig) -> IngestPlan:
    """Survey the source, assign splits, and cut the shuffled rows into chunks.

    Raises:
        RejectedSource: With everything that is wrong, unless bad examples go to quarantine.
        DataError: If the source cannot be ingested whatever is left out.
    """
    config = config.absolute()
    survey = survey_source(config)
    if survey.problems and config.on_bad == "reject":
        raise RejectedSource(config.source, survey.problems, _ADVICE)
    splits, problems = assign_splits(survey, config.split, config.seed)
    if problems:
        raise RejectedSource(
            config.source,
            problems,
            "Add examples, leave the class out, or hold nothing out (validation 0, test 0)",
        )
    order = order_rows(survey, splits, config.seed)
    if not any(len(rows) for rows in order.values()):
        left = f" left: all {survey.num_rows:,} are bad" if survey.num_rows else ""
        raise DataError(f"{config.source}: 0 examples{left}")
    if not len(order["train"]):
        raise DataError(f"{config.source}: 0 examples for training. Add examples, or hold fewer out")
    single = len(survey.files) == 1
    sources = [file.sha256 if single else f"{file.sha256} {file.path}" for file in survey.files]
    group_rows, chunks = _cut(order, _row_bytes(survey.example))
    work = ChunkWork(
        dataset_id=derive_dataset_id(sources, config.identity()),
        reader=survey.reader,
        example=survey.example,
        num_classes=None if survey.classes is None else len(survey.classes),
        order=order,
        labels=survey.labels,
        chunks=chunks,
        group_rows=group_rows,
    )
    return IngestPlan(config, survey, work)


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
        shard = write_shard(
            folder / chunk.shard, _assemble(work, block.kept, block.examples, labels), work.group_rows
        )
    counts = () if labels is None else np.bincount(labels, minlength=work.num_classes or 0).tolist()
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


def publish(plan: IngestPlan, records: Iterable[ChunkRecord], home: str) -> Manifest:
    """Move the staged shards to their place and write the manifest, last and without overwriting another.

    Raises:
        RejectedSource: If examples were bad and the configuration rejects.
        DataError: If no example is left, or the disk is full.
    """
    config, survey = plan.config, plan.survey
    done = sorted(records, key=lambda record: record.index)
    problems = (*survey.problems, *(problem for record in done for problem in record.problems))
    if problems and config.on_bad == "reject":
        raise RejectedSource(config.source, problems, _ADVICE)
    if not any(record.shard for record in done if record.split == "train"):
        raise DataError(f"{config.source}: 0 examples left for training: {len(problems):,} are bad")
    target = dataset_location(home, config.name, plan.dataset_id)
    shards: dict[SplitName, tuple[Shard, ...]] = {
        split: tuple(r.shard for r in done if r.split == split and r.shard is not None) for split in SPLITS
    }
    with explain_full_disk(target):
        target.filesystem.create_dir(target.path, recursive=True)
        rejected = quarantine(config, plan.dataset_id, problems, home) if problems else 0
        publish_shards(staging_location(home, config.name, plan.dataset_id), target, shards)
    long = len(survey.files) > SOURCES_LISTED
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        dataset_id=plan.dataset_id,
        name=config.name,
        created_at=datetime.now(UTC),
        example=survey.example,
        classes=survey.classes,
        splits=shards,
        class_counts={split: _class_counts(done, split) for split in SPLITS} if survey.classes else {},
        sources=() if long else survey.files,
        source_listing=write_source_listing(target, survey.files) if long else None,
        ingest=config.record(),
        schema_fingerprint=derive_schema_fingerprint(survey.example, survey.classes),
        rejected=rejected,
    )
    if not write_whole(target / MANIFEST_NAME, manifest.model_dump_json(indent=1).encode(), overwrite=False):
        return Dataset.open(target.uri).manifest
    return manifest


def ingest(
    config: IngestConfig,
    home: str,
    map_chunks: Callable[[Callable[[int], ChunkRecord], Sequence[int]], Iterable[ChunkRecord]],
    on_progress: Callable[[int, int], None],
) -> IngestResult:
    """Make a dataset, or find that it is there already.

    Args:
        config: What to ingest, and how.
        home: Where datasets are kept: a folder or any pyarrow filesystem URI.
        map_chunks: Runs a picklable function over chunk numbers, and gives the results in any order.
        on_progress: Called with (rows done, rows in all) as chunks are written.

    Raises:
        RejectedSource: If something is wrong with the source; the message names a JSON file that holds all of
        it.
        DataError: If the source cannot be ingested, or the disk is full.
        CorruptData: If the dataset is there but damaged. It is not mended in place: others may be reading it.
    """
    try:
        started = time.perf_counter()
        todo = plan(config)
        surveyed = time.perf_counter() - started
        existing = _existing(todo, home)
        if existing is not None:
            return _result(todo, existing, home, surveyed, None)
        with staging(home, todo.config.name, todo.dataset_id) as folder:
            existing = _existing(todo, home)  # another ingest may have published it while this one waited
            if existing is not None:
                remove(folder)
                return _result(todo, existing, home, surveyed, None)
            started = time.perf_counter()
            try:
                records = _write_all(todo.work, folder.uri, map_chunks, on_progress)
                seconds = time.perf_counter() - started
                manifest = publish(todo, records, home)
            except RejectedSource:
                remove(folder)  # the same bytes would be refused again
                raise
            remove(folder)
            return _result(todo, manifest, home, surveyed, (seconds, records))
    except RejectedSource as error:
        raise _with_errors_file(error, config, home) from error
    finally:
        forget_parts()


def dry_run(config: IngestConfig, home: str) -> DryRun:
    """What an ingest would do, short of decoding the examples.

    Raises:
        DataError: As `plan`; nothing is written.
    """
    todo = plan(config)
    target = dataset_location(home, todo.config.name, todo.dataset_id)
    return DryRun(
        dataset_id=todo.dataset_id,
        uri=target.uri,
        exists=(target / MANIFEST_NAME).exists(),
        rows=todo.num_rows,
        classes=todo.survey.classes,
        example=todo.survey.example,
        chunks=len(todo.work.chunks),
        estimated_bytes=sum(todo.num_rows.values()) * _row_bytes(todo.survey.example),
        num_sources=len(todo.survey.files),
        source_bytes=sum(file.bytes for file in todo.survey.files),
        problems=todo.survey.problems,
        notes=todo.survey.notes,
    )


def _write_all(
    work: ChunkWork,
    staging_uri: str,
    map_chunks: Callable[[Callable[[int], ChunkRecord], Sequence[int]], Iterable[ChunkRecord]],
    on_progress: Callable[[int, int], None],
) -> list[ChunkRecord]:
    total, done, records = sum(len(rows) for rows in work.order.values()), 0, []
    on_progress(0, total)
    write = functools.partial(write_chunk, work, staging_uri=staging_uri)
    for record in map_chunks(write, range(len(work.chunks))):
        records.append(record)
        done += record.stop - record.start
        on_progress(done, total)
    return records


def _row_bytes(example: ImageSpec | TableSpec) -> int:
    # Eight bytes for a number or a short text: an estimate, for the size of chunks.
    return example.row_bytes if isinstance(example, ImageSpec) else 8 * max(1, len(example.columns))


def _cut(order: dict[SplitName, NDArray[np.int64]], row_bytes: int) -> tuple[int, tuple[Chunk, ...]]:
    """(rows of a row group, chunks of whole row groups)."""
    group_rows = rows_per_group(row_bytes)
    total = sum(len(rows) for rows in order.values()) * row_bytes
    wanted = min(max(total // _CHUNKS_WANTED, _MIN_CHUNK_BYTES), _MAX_CHUNK_BYTES)
    rows = group_rows * max(1, wanted // (group_rows * row_bytes))
    chunks = [
        Chunk(split, start, min(start + rows, len(order[split])), f"{split}-{start // rows:05d}.parquet")
        for split in SPLITS
        for start in range(0, len(order[split]), rows)
    ]
    return group_rows, tuple(chunks)


def _assemble(
    work: ChunkWork,
    kept: NDArray[np.int64],
    examples: NDArray[np.uint8] | pa.Table,
    labels: NDArray[np.int32] | None,
) -> pa.Table:
    schema = arrow_schema(work.example, labelled=labels is not None)
    if isinstance(examples, pa.Table):
        features = [name for name in schema.names if name not in (LABEL, SOURCE_ROW)]
        columns: list[Any] = [examples[name] for name in features]
    else:
        kind = schema.field(IMAGE).type
        columns = [pa.FixedSizeBinaryArray.from_buffers(kind, len(kept), [None, pa.py_buffer(examples)])]
    if labels is not None:
        columns.append(pa.array(labels, pa.int32()))
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


def _class_counts(records: Sequence[ChunkRecord], split: str) -> tuple[int, ...]:
    counts = [record.class_counts for record in records if record.split == split]
    return tuple(int(total) for total in np.sum(counts, axis=0)) if counts else ()


def _existing(todo: IngestPlan, home: str) -> Manifest | None:
    target = dataset_location(home, todo.config.name, todo.dataset_id)
    if not (target / MANIFEST_NAME).exists():
        return None
    dataset = Dataset.open(target.uri)
    dataset.check_sizes()
    return dataset.manifest


def _result(
    todo: IngestPlan,
    manifest: Manifest,
    home: str,
    surveyed: float,
    written: tuple[float, list[ChunkRecord]] | None,
) -> IngestResult:
    seconds, records = written or (0.0, [])
    rows = sum(record.stop - record.start for record in records)
    quarantined = locate(home) / "datasets" / manifest.name / f"quarantine-{manifest.dataset_id[:12]}"
    return IngestResult(
        dataset_id=manifest.dataset_id,
        uri=dataset_location(home, manifest.name, manifest.dataset_id).uri,
        name=manifest.name,
        rows=manifest.num_rows,
        classes=manifest.classes,
        reused=written is None,
        rejected=manifest.rejected,
        quarantine_uri=quarantined.uri if manifest.rejected else None,
        notes=todo.survey.notes,
        survey_seconds=surveyed,
        seconds=seconds,
        images_per_second=rows / seconds if seconds else 0.0,
        resumed_chunks=sum(record.reused for record in records),
    )


def _with_errors_file(error: RejectedSource, config: IngestConfig, home: str) -> RejectedSource:
    data = problems_as_json(error.source, error.problems)
    name = f"errors-{hashlib.sha256(data).hexdigest()[:12]}.json"
    folder = locate(home) / "datasets" / config.name
    folder.filesystem.create_dir(folder.path, recursive=True)
    write_whole(folder / name, data)
    return RejectedSource(error.source, error.problems, error.advice, (folder / name).uri)
