"""Files and log of a run: its specification, its result, and the events in between.

A run is a folder HOME/runs/IDENTITY with `spec.json`, and `result.json` or `error.json`. Its job prints events as lines of
their own, `BETALINE_EVENT {"kind": …}`.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vae import errors
from vae.errors import BetalineError, ConfigError
from vae.progress import Progress
from vae.storage import Location, locate, write_whole

SPEC, RESULT, ERROR = "spec.json", "result.json", "error.json"
LEFT = "left.json"
"""Result of a training that diverged: see `pipelines.stages.train.DivergedTraining`."""
REPORT = "report.json"
"""Place of the report that the last attempt left: MLflow's experiment and run, and the path among its artifacts."""
PINNED = "pinned.json"
"""Choices that the first attempt made and the later ones keep."""
TRIALS = "trials.json"
"""Trials so far of a search."""
EVENT_PREFIX = "BETALINE_EVENT "
DIFFERENCES_SHOWN = 20
"""Largest number of differences that an error message lists."""


class RunFolder:
    """The folder HOME/runs/IDENTITY, on any filesystem that pyarrow knows.

    Args:
        home: BETALINE_HOME, a path or a URI.
        identity: The run's name.

    Raises:
        ConfigError: If the name cannot be that of a folder and of a submission.
    """

    def __init__(self, home: str, identity: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", identity):
            raise ConfigError(f"a run's name is letters, digits, '_', '.' and '-', got {identity!r}")
        self.location: Location = locate(home) / "runs" / identity
        self.uri = self.location.uri

    def read(self, name: str) -> dict[str, Any] | None:
        """Returns the content of a JSON file of the folder; None if there is no such file."""
        try:
            return json.loads((self.location / name).read())
        except FileNotFoundError:
            return None

    def write(self, name: str, record: Mapping[str, Any]) -> str:
        """Writes a JSON file as a whole or not at all; returns its URI."""
        file = self.location / name
        write_whole(file, json.dumps(record, allow_nan=False, indent=2).encode())
        return file.uri

    def write_error(self, error: BetalineError) -> None:
        """Writes an error for the caller of the job, as the nearest class of `vae.errors`."""
        nearest = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        self.write(ERROR, {"type": nearest.__name__, "message": str(error)})

    def remove(self, name: str) -> None:
        """Removes a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self.location.filesystem.delete_file((self.location / name).path)

    def refuse_another_spec(self, wanted: Mapping[str, Any]) -> None:
        """Checks that the folder holds no run of another specification; its workers may be others.

        Raises:
            ConfigError: If it does, with the differences.
        """
        stored = self.read(SPEC)
        from vae.config import differences  # with PyTorch, for which a view of events does not wait

        if stored is None or not (differing := differences(_without_workers(stored), _without_workers(wanted))):
            return
        raise ConfigError(
            f"{self.uri} holds a run of another specification; {len(differing)} of its values differ: "
            f"{'; '.join(differing[:DIFFERENCES_SHOWN])}. Give this run another name, or remove that folder"
        )


def _without_workers(values: Any) -> Any:
    """Returns a specification without the section `scaling` of any configuration in it."""
    if not isinstance(values, Mapping):
        return values
    return {name: _without_workers(value) for name, value in values.items() if name.split(".")[0] != "scaling"}


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a job reports while it runs."""

    kind: str
    """Kind of the event."""
    fields: dict[str, Any]
    """Fields of the event, by kind."""


def emit(kind: str, fields: Mapping[str, Any]) -> None:
    """Prints an event for the process that follows the job's log."""
    # Not `print`: Ray Train replaces it inside its workers by one that writes every line twice.
    sys.stdout.write(EVENT_PREFIX + json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()


def emit_progress(position: Progress) -> None:
    """Prints a position of the job as an event."""
    emit("progress", asdict(position))


def position_of(event: Event) -> Progress | None:
    """Returns the position that an event states; None for an event of another kind."""
    return Progress(**event.fields) if event.kind == "progress" else None


def parse_event(line: str) -> Event | None:
    """Returns the event on a line of a job's log; None for any other line."""
    # Ray writes the process and its node before the output of a worker.
    _, prefix, text = line.partition(EVENT_PREFIX)
    if not prefix:
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        return None  # an event with another process's output in it is shown as log
    kind = fields.pop("kind", None) if isinstance(fields, dict) else None
    return Event(kind=kind, fields=fields) if isinstance(kind, str) else None
