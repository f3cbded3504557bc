"""Ingest: decodes a source, writes its chunks as Ray tasks, and publishes the dataset."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import ray
import ray.exceptions

from pipelines.data.ingest import ChunkRecord, IngestResult, ingest
from pipelines.data.sources import IngestConfig
from pipelines.jobs.job import Job
from vae import progress

LOCAL_SECONDS = 1.0
"""Seconds in which chunks are written by the driver itself."""

Request = IngestConfig


def run(job: Job[IngestConfig]) -> IngestResult:
    """Ingests a source on the cluster."""
    progress.report("connecting to Ray")
    ray.init()
    return ingest(job.request, job.home, _map_chunks)


def _map_chunks(write: Callable[[int], ChunkRecord], chunks: Sequence[int]) -> Iterator[ChunkRecord]:
    """Writes chunks in this process for a second, and the rest on the cluster.

    A small source is done within that second, before a worker would have started.
    """
    waiting = deque(chunks)
    deadline = time.monotonic() + LOCAL_SECONDS

    def write_some(_: int) -> list[ChunkRecord]:
        done = []
        while time.monotonic() < deadline:
            try:
                chunk = waiting.popleft()
            except IndexError:
                break
            done.append(write(chunk))
        return done

    num_threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(num_threads) as threads:
        for records in threads.map(write_some, range(num_threads)):
            yield from records
    if waiting:
        yield from _map_on_cluster(write, waiting)


def _map_on_cluster(write: Callable[[int], ChunkRecord], chunks: Iterable[int]) -> Iterator[ChunkRecord]:
    """Writes chunks as Ray tasks, as many at once as there are CPUs; a task whose worker dies is run again."""
    shared = ray.put(write)
    waiting = [_write_chunk.remote(shared, chunk) for chunk in chunks]
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        try:
            yield from ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            # The error of the chunk itself, without the traceback that Ray adds to its text.
            raise error.cause from None


@ray.remote(max_retries=3)
def _write_chunk(write: Callable[[int], ChunkRecord], chunk: int) -> ChunkRecord:
    return write(chunk)
