"""An ingest from end to end: plan, write every chunk, publish."""

from __future__ import annotations

import functools
import hashlib
import time
from dataclasses import dataclass

from pipelines.data.ingest.chunks import ChunkRecord, ChunkWork, write_chunk
from pipelines.data.ingest.planning import IngestPlan, plan_ingest
from pipelines.data.ingest.publishing import publish
from pipelines.data.ingest.staging import dataset_location, quarantine_location, remove, staging
from pipelines.data.sources import Cost, IngestConfig, Problem, RejectedSource, forget_segments, problems_as_json
from pipelines.data.sources.spreading import Spread, spread_by
from pipelines.data.sources.tables.columns import Understood
from vae import progress
from vae.data.manifest import MANIFEST_NAME, Manifest, SplitName
from vae.data.parquet import Dataset
from vae.data.schema import ExampleSpec
from vae.storage import Location, locate, write_whole


@dataclass(frozen=True)
class IngestResult:
    """A published dataset."""

    dataset_id: str
    uri: str
    name: str
    rows: dict[SplitName, int]
    classes: tuple[str, ...] | None
    reused: bool
    """Whether the dataset existed before, so that nothing was written."""
    rejected: int
    quarantine_uri: str | None
    notes: tuple[str, ...]
    understood: tuple[Understood, ...]
    """Columns of a table as they were understood; empty for images."""
    survey_seconds: float
    """Seconds to list, hash and check the source."""
    seconds: float
    """Seconds to decode and write; 0 for a reused dataset."""
    images_per_second: float
    """Examples decoded and written per second."""
    resumed_chunks: int
    """Number of chunks from an earlier, unfinished ingest."""


@dataclass(frozen=True)
class DryRun:
    """The expected result of an ingest."""

    dataset_id: str
    uri: str
    exists: bool
    rows: dict[SplitName, int]
    classes: tuple[str, ...] | None
    example: ExampleSpec
    chunks: int
    estimated_bytes: int
    """Size before compression."""
    num_sources: int
    source_bytes: int
    problems: tuple[Problem, ...]
    """Examples that would be left out, if the configuration quarantines them."""
    notes: tuple[str, ...]
    understood: tuple[Understood, ...]
    """Columns of a table as they were understood; empty for images."""
    cost: Cost | None
    """Expected cost of the ingest of a table; None for images."""


def ingest(config: IngestConfig, home: str, map_chunks: Spread) -> IngestResult:
    """Makes a dataset, unless it exists.

    Args:
        config: Source, and how to read it.
        home: Folder of all datasets: a path or any pyarrow filesystem URI.
        map_chunks: Runs the parts of the survey, and the chunks.

    Raises:
        RejectedSource: If the source has problems; the message names a JSON file with all of them.
        DataError: If the source cannot be ingested, or the disk is full.
        CorruptData: If the dataset exists but is damaged. It is not repaired in place: others may be reading it.
    """
    try:
        started = time.perf_counter()
        progress.report("surveying the source")
        with spread_by(map_chunks):
            todo = plan_ingest(config)
        surveyed = time.perf_counter() - started
        existing = _existing(todo, home)
        if existing is not None:
            return _result(todo, existing, home, surveyed)
        with staging(home, todo.config.name, todo.dataset_id) as folder:
            try:
                manifest, written = _write_and_publish(todo, home, folder, map_chunks)
            except RejectedSource:
                remove(folder)  # the same bytes would be refused again
                raise
            remove(folder)
            return _result(todo, manifest, home, surveyed, written)
    except RejectedSource as error:
        raise _with_errors_file(error, config, home) from error
    finally:
        forget_segments()


def dry_run(config: IngestConfig, home: str) -> DryRun:
    """Returns the expected result of an ingest, without decoding examples or writing files.

    Raises:
        DataError: As `plan_ingest`.
    """
    todo = plan_ingest(config)
    target = dataset_location(home, todo.config.name, todo.dataset_id)
    return DryRun(
        dataset_id=todo.dataset_id,
        uri=target.uri,
        exists=(target / MANIFEST_NAME).exists(),
        rows=todo.num_rows,
        classes=todo.survey.classes,
        example=todo.survey.example,
        chunks=len(todo.work.chunks),
        estimated_bytes=sum(todo.num_rows.values()) * todo.survey.example.row_bytes,
        num_sources=len(todo.survey.files),
        source_bytes=sum(file.bytes for file in todo.survey.files),
        problems=todo.survey.problems,
        notes=todo.survey.notes,
        understood=todo.survey.understood,
        cost=todo.survey.cost,
    )


def _write_and_publish(
    todo: IngestPlan, home: str, folder: Location, map_chunks: Spread
) -> tuple[Manifest, tuple[float, list[ChunkRecord]] | None]:
    existing = _existing(todo, home)  # another ingest may have published it while this one waited
    if existing is not None:
        return existing, None
    started = time.perf_counter()
    records = _write_all(todo.work, folder.uri, map_chunks)
    seconds = time.perf_counter() - started
    progress.report("publishing the dataset")
    return publish(todo, records, home), (seconds, records)


def _write_all(work: ChunkWork, staging_uri: str, map_chunks: Spread) -> list[ChunkRecord]:
    total = sum(len(rows) for rows in work.order.values())
    written = map_chunks(functools.partial(write_chunk, work, staging_uri=staging_uri), range(len(work.chunks)))
    return [*progress.counted(written, "decoding and writing", total, "examples", lambda one: one.stop - one.start)]


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
    written: tuple[float, list[ChunkRecord]] | None = None,
) -> IngestResult:
    seconds, records = written or (0.0, [])
    rows = sum(record.stop - record.start for record in records)
    quarantined = quarantine_location(home, manifest.name, manifest.dataset_id)
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
        understood=todo.survey.understood,
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
