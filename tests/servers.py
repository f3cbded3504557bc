"""Servers and workers of a test's own, which it may kill, pause and restart without harm to those of the session."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from pipelines.services import process
from pipelines.services.commands import Launch
from tests.cluster.servers import running

ROOT = Path(__file__).parents[1]


class Server:
    """A service of one test. A restart brings it back at the same address."""

    def __init__(self, launch: Launch, folder: Path, until_the_end: ExitStack) -> None:
        self.launch = launch
        self.folder = folder
        self._until_the_end = until_the_end
        self.start()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.process = self._until_the_end.enter_context(running(self.launch, self.folder))

    def kill(self) -> None:
        """Sends SIGKILL to it and everything it started."""
        kill(*process.tree(self.process))

    def pause(self) -> None:
        """Sends SIGSTOP: it accepts connections and answers none."""
        for member in process.tree(self.process):
            member.suspend()

    def resume(self) -> None:
        """Sends SIGCONT."""
        for member in process.tree(self.process):
            member.resume()


@contextmanager
def worker(**environment: str) -> Iterator[psutil.Popen]:
    """Runs a worker of the environment's Prefect server, on the pool of all deployments, while the block runs."""
    from pipelines.operating.deployments import POOL

    started = psutil.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL],
        cwd=ROOT,
        env={**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "2", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        with suppress(psutil.NoSuchProcess):  # the test has ended it
            started.terminate()
        try:
            started.wait(timeout=60)
        except psutil.TimeoutExpired:  # a flow run's process may take its time, and no later test is to meet it
            kill(*started.children(recursive=True), started)


def kill(*members: psutil.Process) -> None:
    """Sends SIGKILL, and waits until the processes have ended."""
    for member in members:
        with suppress(psutil.NoSuchProcess):  # it has ended with one before it
            member.kill()
    psutil.wait_procs(members, timeout=30)
