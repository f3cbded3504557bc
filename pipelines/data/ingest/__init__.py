"""Ingest of a source into a dataset: plan, write chunks anywhere and in any order, publish.

The stages are plain functions. `ingest` runs them, and takes a function that runs the chunks: here, in a pool of
processes, or over a cluster. A dataset's identity follows from its content, so that the same ingest twice is one
dataset, and a killed ingest resumes.
"""

from __future__ import annotations

from pipelines.data.ingest.chunks import ChunkRecord, write_chunk
from pipelines.data.ingest.planning import plan_ingest
from pipelines.data.ingest.publishing import publish
from pipelines.data.ingest.run import DryRun, IngestResult, dry_run, ingest
from pipelines.data.sources import IngestConfig

__all__ = [
    "ChunkRecord",
    "DryRun",
    "IngestConfig",
    "IngestResult",
    "dry_run",
    "ingest",
    "plan_ingest",
    "publish",
    "write_chunk",
]
