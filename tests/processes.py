"""Real processes that tests watch and end."""

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
    """Waits for a condition; returns the seconds it took, and fails after the limit."""
    begun = time.monotonic()
    wait_for(is_so, limit_seconds, what)
    return time.monotonic() - begun


def wait_for(find: Callable[[], T | None], limit_seconds: float = 120, what: str = "") -> T:
    """Waits until a function returns something true; returns that, and fails after the limit."""
    begun = time.monotonic()
    while not (result := find()):
        assert time.monotonic() - begun < limit_seconds, f"not within {limit_seconds} s: {what or find}"
        time.sleep(0.1)
    return result


@contextmanager
def meanwhile(act: Callable[[], T]) -> Iterator[Future[T]]:
    """Does something in another thread while the block runs; yields the future of its result.

    A job's log is too late for that: on fast machines it comes after the work has ended.
    """
    with ThreadPoolExecutor(1) as other:
        yield other.submit(act)


def ray_processes(services: Services, word: str) -> list[psutil.Process]:
    """Returns the processes of the session's Ray head whose command has a word, such as `RayTrainWorker`."""
    head = next(process for process in services.processes if process.name == "ray")
    return [process for process in psutil.Process(head.pid).children(recursive=True) if word in command_of(process)]


def kill_driver(services: Services, kind: str) -> bool:
    """Kills the driver of the running job of a kind; returns whether there was one."""
    drivers = ray_processes(services, f"pipelines.jobs {kind} --spec")
    for driver in drivers:
        driver.kill()
    return bool(drivers)


def total_cpus() -> float:
    """Returns the number of CPUs of the current cluster's living nodes."""
    cluster = current_cluster()
    return patiently(lambda: total_resources(cluster))[0]


def available_cpus() -> float:
    """Returns the number of free CPUs of the current cluster; on the embedded head at most about 2 s old."""
    cluster = current_cluster()
    status = patiently(lambda: cluster.get("/api/cluster_status"))["data"]["clusterStatus"]
    used, total = status["loadMetricsReport"]["usage"]["CPU"]
    return total - used


def command_of(process: psutil.Process) -> str:
    """Returns the command line of a process; the empty string if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def betaline(
    *arguments: str, home: Path, environment: Mapping[str, str] | None = None, limit_seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments, "--home", str(home)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit_seconds,
    )
