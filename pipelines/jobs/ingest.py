"""Ingest: decodes and writes chunks as Ray tasks, then publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import ray

from pipelines.ingest import ChunkRecord, IngestConfig, ingest
from pipelines.jobs.job import Job
from pipelines.runs import emit


def run(job: Job) -> dict[str, Any]:
    ray.init()
    config = IngestConfig.model_validate(job.request)
    done = ingest(
        config,
        job.home,
        _map_on_cluster,
        lambda rows, total: emit("ingest", {"rows": rows, "total": total}),
    )
    return asdict(done)


def _map_on_cluster(write: Callable[[int], ChunkRecord], chunks: Sequence[int]) -> Iterator[ChunkRecord]:
    """Writes chunks as Ray tasks, as many at once as there are CPUs; a task whose worker dies is run again."""
    shared = ray.put(write)
    waiting = [_write_chunk.remote(shared, chunk) for chunk in chunks]
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        yield from ray.get(ready)


@ray.remote(max_retries=3)
def _write_chunk(write: Callable[[int], ChunkRecord], chunk: int) -> ChunkRecord:
    return write(chunk)
