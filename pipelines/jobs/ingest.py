"""Ingest: decodes and writes chunks as Ray tasks, then publishes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import ray
import ray.exceptions

from pipelines.cluster.runs import emit
from pipelines.data.ingest import ChunkRecord, IngestConfig, ingest
from pipelines.jobs.job import Job

LOCAL_SECONDS = 1.0


def run(job: Job) -> dict[str, Any]:
    ray.init()
    config = IngestConfig.model_validate(job.request)
    done = ingest(
        config,
        job.home,
        _map_chunks,
        lambda rows, total: emit("ingest", {"rows": rows, "total": total}),
    )
    return asdict(done)


def _map_chunks(write: Callable[[int], ChunkRecord], chunks: Sequence[int]) -> Iterator[ChunkRecord]:
    """Writes chunks here for a second, in which a small source is done and no worker would have started yet; what is then
    left goes to the cluster.
    """
    left = deque(chunks)
    deadline = time.monotonic() + LOCAL_SECONDS

    def write_some(_: int) -> list[ChunkRecord]:
        done = []
        while time.monotonic() < deadline:
            try:
                chunk = left.popleft()
            except IndexError:
                break
            done.append(write(chunk))
        return done

    num_threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(num_threads) as here:
        for records in here.map(write_some, range(num_threads)):
            yield from records
    if left:
        yield from _map_on_cluster(write, left)


def _map_on_cluster(write: Callable[[int], ChunkRecord], chunks: Iterable[int]) -> Iterator[ChunkRecord]:
    """Writes chunks as Ray tasks, as many at once as there are CPUs; a task whose worker dies is run again."""
    shared = ray.put(write)
    waiting = [_write_chunk.remote(shared, chunk) for chunk in chunks]
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        try:
            yield from ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            # What the chunk refused, without the traceback that Ray makes part of its text.
            raise error.cause from None


@ray.remote(max_retries=3)
def _write_chunk(write: Callable[[int], ChunkRecord], chunk: int) -> ChunkRecord:
    return write(chunk)
