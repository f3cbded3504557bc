"""Memory and processor time of everything that a command of betaline starts, by the part that each process plays."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from pipelines.services import Services, process
from tests.servers import ROOT

_SECONDS_BETWEEN = 0.1
PARTS = {
    "command": "the command",
    "driver": "driver of the job",
    "worker": "the largest worker",
    "daemon": "the largest daemon",
}


class Watched(NamedTuple):
    """A command that has ended."""

    seconds: float
    peaks: dict[str, int]
    """Largest anonymous memory of one process of each part, in bytes."""
    processor: float
    """Processor seconds of all parts but the daemons."""


def run(arguments: Sequence[str], home: Path, services: Services) -> Watched:
    """Runs a command of betaline on a home whose services run, and watches it and them.

    Raises:
        RuntimeError: If the command fails.
    """
    log = home / "command.log"
    with log.open("wb") as sink:
        started = time.monotonic()
        command = [sys.executable, "-m", "pipelines.cli", *arguments, "--home", str(home)]
        child = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT)
        watch = _Watch(child.pid, services)
        watch.start()
        status = child.wait()
        seconds = time.monotonic() - started
        watch.over.set()
        watch.join()
    if status:
        raise RuntimeError(f"betaline {' '.join(arguments)} failed:\n{log.read_text()[-3000:]}")
    return Watched(seconds, dict(watch.peaks), sum(watch.processor.values()))


class _Watch(threading.Thread):
    """Looks at every process again and again, and keeps the peaks."""

    def __init__(self, command: int, services: Services) -> None:
        super().__init__(daemon=True)
        self.command, self.services = command, services
        self.over = threading.Event()
        self.peaks: Counter[str] = Counter()
        self.processor: dict[int, float] = {}

    def run(self) -> None:
        while not self.over.wait(_SECONDS_BETWEEN):
            self._look(psutil.Process(self.command), "command")
            for root in self.services.processes:
                for member in process.tree(root):
                    self._look(member, None)

    def _look(self, member: psutil.Process, part: str | None) -> None:
        with suppress(psutil.Error, OSError):
            part = part or _part(member)
            self.peaks[part] = max(self.peaks[part], _anonymous_bytes(member.pid))
            if part != "daemon":
                self.processor[member.pid] = sum(member.cpu_times()[:2])


def _part(member: psutil.Process) -> str:
    line = " ".join(member.cmdline())
    if "pipelines.jobs" in line:
        return "driver"
    return "worker" if line.startswith("ray::") else "daemon"


def _anonymous_bytes(pid: int) -> int:
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(found[1]) if found else 0
