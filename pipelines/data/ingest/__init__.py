"""A source becomes a dataset: plan, write chunks anywhere and in any order, publish.

The stages are plain functions. `ingest` strings them together and is told how to run the chunks: here, in
a pool of processes, or over a cluster. What a dataset is called follows from its content, so that the same
ingest twice is one dataset, and a killed one goes on where it was.
"""

from __future__ import annotations

from pipelines.data.ingest.chunks import Chunk, ChunkRecord, ChunkWork, write_chunk
from pipelines.data.ingest.planning import IngestPlan, plan
from pipelines.data.ingest.publishing import publish
from pipelines.data.ingest.run import DryRun, IngestResult, dry_run, ingest
from pipelines.data.sources import IngestConfig, SplitConfig

__all__ = [
    "Chunk",
    "ChunkRecord",
    "ChunkWork",
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
