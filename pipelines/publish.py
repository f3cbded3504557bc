"""The last step of an ingest: shards to their place, bad inputs to quarantine, long listings to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipelines.sources import IngestConfig, Problem, problems_as_json
from vae.data.manifest import Shard, SourceFile, SourceListing, SplitName
from vae.data.storage import Location, locate, sha256_of, sync_folder, write_whole

# More than this many source files go into a file of their own, so that a manifest stays quick to open.
SOURCES_LISTED = 1000
_LISTING_NAME = "sources.parquet"
_COPIED_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def publish_shards(staged: Location, target: Location, shards: Mapping[SplitName, Sequence[Shard]]) -> None:
    """Move shards to the dataset's folder, where they do not count until the manifest names them."""
    for shard in (shard for group in shards.values() for shard in group):
        target.filesystem.move((staged / shard.path).path, (target / shard.path).path)
    if target.is_local:
        sync_folder(Path(target.path))


def quarantine(config: IngestConfig, dataset_id: str, problems: Sequence[Problem], home: str) -> int:
    """Keep a copy of the bad image files, and a list of all that was left out and why.

    Returns:
        How many examples were left out.
    """
    folder = locate(home) / "datasets" / config.name / f"quarantine-{dataset_id[:12]}"
    source = locate(config.source)
    folder.filesystem.create_dir(folder.path, recursive=True)
    for path in sorted(
        {p.path for p in problems if p.row is None and p.path.lower().endswith(_COPIED_TYPES)}
    ):
        origin = source if source.info().type == fs.FileType.File else source / path
        write_whole(folder / path, origin.read())
    write_whole(folder / "problems.json", problems_as_json(config.source, problems))
    return len({(problem.path, problem.row) for problem in problems})


def write_source_listing(target: Location, files: Sequence[SourceFile]) -> SourceListing:
    """List the source files in a Parquet file beside the shards."""
    table = pa.table(
        {
            "path": [file.path for file in files],
            "bytes": [file.bytes for file in files],
            "sha256": [file.sha256 for file in files],
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    location = target / _LISTING_NAME
    write_whole(location, sink.getvalue())
    return SourceListing(path=_LISTING_NAME, files=len(files), sha256=sha256_of(location))
