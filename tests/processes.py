"""Real processes, as tests watch and end them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psutil

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
