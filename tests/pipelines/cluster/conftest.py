"""Programs that run as jobs of the session's cluster, and a record of what they print."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.launch import Submission, run_job
from pipelines.cluster.runs import Event
from pipelines.services import Services

# A job whose specification holds its program; it resumes from what is beside its specification.
JOB = """
import json, pathlib, sys, time
kind, folder = sys.argv[1], pathlib.Path(sys.argv[3]).parent
spec = json.loads(pathlib.Path(sys.argv[3]).read_text())
def leave(name, record): (folder / name).write_text(json.dumps(record))
def wait(name):
    while not (folder / name).exists(): time.sleep(0.05)
exec(spec["program"])
"""

Runner = Callable[..., Any]


class Recorder:
    """Record of a job's output: its events and its other lines."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lines: list[str] = []
        self.seen = threading.Event()

    def on_event(self, event: Event) -> None:
        """Keeps an event and wakes the threads that wait for one."""
        self.events.append(event)
        self.seen.set()


@pytest.fixture
def recorder() -> Recorder:
    """An empty record of a job's output."""
    return Recorder()


@pytest.fixture
def run(services: Services, tmp_path: Path, recorder: Recorder) -> Runner:
    """Runs a program as a job of the session's cluster."""
    script = tmp_path / "job.py"
    script.write_text(JOB)

    def run(program: str, identity: str, record: Recorder = recorder, **options: Any) -> dict[str, Any]:
        named = {"kind": "test", "identity": identity, "home": services.home, "entrypoint": [str(script)]}
        asked = Submission(**named, spec={"program": program}, **options)
        return run_job(asked, record.on_event, record.lines.append)

    return run


@pytest.fixture
def begin(run: Runner, recorder: Recorder) -> Iterator[Callable[..., Future[Any]]]:
    """Runs a program in a thread; returns its future when the program has printed an event."""
    with ThreadPoolExecutor(4) as threads:

        def begin(program: str, identity: str, record: Recorder = recorder) -> Future[Any]:
            outcome = threads.submit(run, program, identity, record)
            assert record.seen.wait(90)
            return outcome

        yield begin
