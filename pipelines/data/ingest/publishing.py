"""Publishing of a dataset: moves shards, copies bad inputs to quarantine, and writes the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipelines.data.ingest.chunks import ChunkRecord
from pipelines.data.ingest.planning import ADVICE, IngestPlan
from pipelines.data.ingest.staging import dataset_location, quarantine_location, staging_location
from pipelines.data.sources import IngestConfig, Problem, RejectedSource, problems_as_json
from pipelines.data.sources.tables import choices
from vae.data.manifest import MANIFEST_NAME, SPLITS, Manifest, Shard, SourceFile, SourceListing, SplitName
from vae.data.parquet import Dataset
from vae.errors import DataError
from vae.storage import Location, explain_full_disk, locate, sha256_of, sync_folder, write_whole

# Longer lists of source files go into a file of their own, so that a manifest stays quick to open.
_SOURCES_LISTED = 1000
_LISTING_NAME = "sources.parquet"
_COPIED_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def publish(plan: IngestPlan, records: Iterable[ChunkRecord], home: str) -> Manifest:
    """Moves the staged shards to the dataset's folder, and writes the manifest last, without overwriting another.

    Raises:
        RejectedSource: If examples are bad and the configuration rejects them.
        DataError: If no training example is good, or the disk is full.
    """
    config, survey = plan.config, plan.survey
    done = sorted(records, key=lambda record: record.index)
    problems = (*survey.problems, *(problem for record in done for problem in record.problems))
    if problems and config.on_bad == "reject":
        raise RejectedSource(config.source, problems, ADVICE)
    if not any(record.shard for record in done if record.split == "train"):
        raise DataError(f"{config.source}: 0 examples left for training: {len(problems):,} are bad")
    target = dataset_location(home, config.name, plan.dataset_id)
    shards: dict[SplitName, tuple[Shard, ...]] = {
        split: tuple(r.shard for r in done if r.split == split and r.shard is not None) for split in SPLITS
    }
    with explain_full_disk(target):
        target.filesystem.create_dir(target.path, recursive=True)
        rejected = _quarantine(config, plan.dataset_id, problems, home) if problems else 0
        _move_shards(staging_location(home, config.name, plan.dataset_id), target, shards)
    if survey.understood:
        write_whole(target / choices.FILE_NAME, choices.as_yaml(survey.understood).encode())
    long = len(survey.files) > _SOURCES_LISTED
    manifest = Manifest.made_now(
        dataset_id=plan.dataset_id,
        name=config.name,
        example=survey.schema,
        splits=shards,
        class_counts={split: _class_counts(done, split) for split in SPLITS} if survey.classes else {},
        sources=() if long else survey.files,
        source_listing=_write_source_listing(target, survey.files) if long else None,
        ingest=config.model_dump(mode="json"),
        rejected=rejected,
    )
    if not write_whole(target / MANIFEST_NAME, manifest.model_dump_json(indent=1).encode(), overwrite=False):
        return Dataset.open(target.uri).manifest
    return manifest


def _move_shards(staged: Location, target: Location, shards: Mapping[SplitName, Sequence[Shard]]) -> None:
    """Moves shards to the dataset's folder; readers ignore them until the manifest names them."""
    for shard in (shard for group in shards.values() for shard in group):
        # On an object store without locks, an identical ingest may have moved the same bytes already.
        if (staged / shard.path).exists() or (target / shard.path).info().size != shard.bytes:
            target.filesystem.move((staged / shard.path).path, (target / shard.path).path)
    if target.is_local:
        sync_folder(Path(target.path))


def _quarantine(config: IngestConfig, dataset_id: str, problems: Sequence[Problem], home: str) -> int:
    """Copies bad image files, and lists all examples that are left out; returns their number."""
    folder = quarantine_location(home, config.name, dataset_id)
    source = locate(config.source)
    folder.filesystem.create_dir(folder.path, recursive=True)
    for path in sorted({p.path for p in problems if p.row is None and p.path.lower().endswith(_COPIED_TYPES)}):
        origin = source if source.info().type == fs.FileType.File else source / path
        write_whole(folder / path, origin.read())
    write_whole(folder / "problems.json", problems_as_json(config.source, problems))
    return len({(problem.path, problem.row) for problem in problems})


def _write_source_listing(target: Location, files: Sequence[SourceFile]) -> SourceListing:
    """Lists the source files in a Parquet file beside the shards."""
    table = pa.table({name: [getattr(file, name) for file in files] for name in ("path", "bytes", "sha256")})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    location = target / _LISTING_NAME
    write_whole(location, sink.getvalue())
    return SourceListing(path=_LISTING_NAME, files=len(files), sha256=sha256_of(location))


def _class_counts(records: Sequence[ChunkRecord], split: str) -> tuple[int, ...]:
    counts = [record.class_counts for record in records if record.split == split]
    return tuple(int(total) for total in np.sum(counts, axis=0)) if counts else ()
