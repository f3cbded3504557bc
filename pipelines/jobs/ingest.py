"""Ingest: hashes a source and writes its chunks, both as Ray tasks, and publishes the dataset."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from typing import Any

import ray
import ray.exceptions

from pipelines.data.ingest import IngestResult, ingest
from pipelines.data.sources import IngestConfig
from pipelines.data.sources.spreading import Files
from pipelines.jobs.job import Job
from vae import progress

LOCAL_SECONDS = 1.0
"""Seconds in which parts are worked off by the driver itself."""
LOCAL_BYTES = 16 << 20
"""Size of the largest file that the driver reads itself, whole, in each of its threads."""

Request = IngestConfig


def run(job: Job[IngestConfig]) -> IngestResult:
    """Ingests a source on the cluster."""
    progress.report("connecting to Ray")
    ray.init()
    return ingest(job.request, job.home, _spread)


def _spread(work: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
    """Works off parts in this process for a second, and the rest on the cluster; yields the results in any order.

    A small source is done within that second, before a worker would have started. Large files are the cluster's at once.
    """
    is_large = [isinstance(part, Files) and max(part.sizes, default=0) > LOCAL_BYTES for part in parts]
    waiting = deque(part for part, large in zip(parts, is_large, strict=True) if not large)
    deadline = time.monotonic() + LOCAL_SECONDS

    def work_off(_: int) -> list[Any]:
        done = []
        while time.monotonic() < deadline:
            try:
                part = waiting.popleft()
            except IndexError:
                break
            done.append(work(part))
        return done

    num_threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(num_threads) as threads:
        for results in threads.map(work_off, range(num_threads)):
            yield from results
    if rest := [*compress(parts, is_large), *waiting]:
        yield from _spread_on_cluster(work, rest)


def _spread_on_cluster(work: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
    """Works off parts as Ray tasks, as many at once as there are CPUs; a task whose worker dies is run again."""
    shared = ray.put(work)
    waiting = [_work_off.remote(shared, part) for part in parts]
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        try:
            yield from ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            # The error of the part itself, without the traceback that Ray adds to its text.
            raise error.cause from None


@ray.remote(max_retries=3)
def _work_off(work: Callable[[Any], Any], part: Any) -> Any:
    return work(part)
