"""An ingest from end to end: plan, write every chunk, publish."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipelines.data.ingest.chunks import ChunkRecord, ChunkWork, write_chunk
from pipelines.data.ingest.planning import IngestPlan, plan, row_bytes
from pipelines.data.ingest.publishing import publish
from pipelines.data.ingest.staging import dataset_location, remove, staging
from pipelines.data.sources import IngestConfig, Problem, RejectedSource, forget_segments, problems_as_json
from vae.data.manifest import MANIFEST_NAME, Manifest, SplitName
from vae.data.parquet import Dataset
from vae.data.schema import ExampleSpec
from vae.storage import locate, write_whole


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
    example: ExampleSpec
    chunks: int
    estimated_bytes: int
    """Before compression."""
    num_sources: int
    source_bytes: int
    problems: tuple[Problem, ...]
    """Examples that would be left out, where the configuration allows it."""
    notes: tuple[str, ...]


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
        forget_segments()


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
        estimated_bytes=sum(todo.num_rows.values()) * row_bytes(todo.survey.example),
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
