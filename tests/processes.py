"""Real processes, as tests watch and end them."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from pipelines.services import Services


def wait_until(is_so: Callable[[], object], limit_seconds: float = 120, what: str = "") -> float:
    """Waits for a condition; returns how long it took, and fails when it does not come."""
    begun = time.monotonic()
    while not is_so():
        assert time.monotonic() - begun < limit_seconds, f"not within {limit_seconds} s: {what or is_so}"
        time.sleep(0.1)
    return time.monotonic() - begun


def ray_processes(services: Services, word: str) -> list[psutil.Process]:
    """The processes of the session's Ray head with a word in their command: `RayTrainWorker`, `pipelines.jobs tune`."""
    head = next(process for process in services.processes if process.name == "ray")
    return [process for process in psutil.Process(head.pid).children(recursive=True) if word in command_of(process)]


def command_of(process: psutil.Process) -> str:
    """The words a process was started with; none where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
