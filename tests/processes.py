"""Real processes, as tests watch and end them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from pipelines.cluster.resources import current_cluster, patiently, total_resources
from pipelines.services import Services

T = TypeVar("T")


def wait_until(is_so: Callable[[], object], limit_seconds: float = 120, what: str = "") -> float:
    """Waits for a condition; returns how long it took, and fails when it does not come."""
    begun = time.monotonic()
    wait_for(is_so, limit_seconds, what)
    return time.monotonic() - begun


def wait_for(find: Callable[[], T | None], limit_seconds: float = 120, what: str = "") -> T:
    """Waits for something to be there; returns it, and fails when it does not come."""
    begun = time.monotonic()
    while not (found := find()):
        assert time.monotonic() - begun < limit_seconds, f"not within {limit_seconds} s: {what or find}"
        time.sleep(0.1)
    return found


@contextmanager
def meanwhile(act: Callable[[], T]) -> Iterator[Future[T]]:
    """Does something in another thread while the block runs: what a log tells comes after the fact, on fast machines after
    the work has ended. Its result, or what it raised, is the future's, once the block has ended.
    """
    with ThreadPoolExecutor(1) as other:
        yield other.submit(act)


def ray_processes(services: Services, word: str) -> list[psutil.Process]:
    """The processes of the session's Ray head with a word in their command: `RayTrainWorker`, `pipelines.jobs tune`."""
    head = next(process for process in services.processes if process.name == "ray")
    return [process for process in psutil.Process(head.pid).children(recursive=True) if word in command_of(process)]


def kill_driver(services: Services, kind: str) -> bool:
    """Kills the driver of the job of a kind that runs now; returns whether there was one."""
    drivers = ray_processes(services, f"pipelines.jobs {kind} --spec")
    for driver in drivers:
        driver.kill()
    return bool(drivers)


def total_cpus() -> float:
    """The CPUs of the current cluster's living nodes."""
    cluster = current_cluster()
    return patiently(lambda: total_resources(cluster))[0]


def available_cpus() -> float:
    """The CPUs of the current cluster that nothing holds; on the embedded head at most about 2 s old."""
    cluster = current_cluster()
    status = patiently(lambda: cluster.get("/api/cluster_status"))["data"]["clusterStatus"]
    used, total = status["loadMetricsReport"]["usage"]["CPU"]
    return total - used


def command_of(process: psutil.Process) -> str:
    """The words a process was started with; none where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def betaline(
    *arguments: str, home: Path, environment: Mapping[str, str] | None = None, limit_seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments, "--home", str(home)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit_seconds,
    )
