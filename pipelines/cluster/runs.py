"""A run as files and as a log: what was asked, what came of it, and the events in between.

A run is a folder HOME/runs/IDENTITY with `spec.json` (what was asked) and `result.json` or `error.json` (what came of it).
Its job prints events as lines of their own, `BETALINE_EVENT {"kind": …}`.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vae import errors
from vae.config import differences
from vae.errors import BetalineError, ConfigError
from vae.storage import Location, locate, write_whole

SPEC, RESULT, ERROR = "spec.json", "result.json", "error.json"
LEFT = "left.json"
"""What a training that diverged has left: the fields of its result, with the error under `diverged`."""
REPORT = "report.json"
"""Where the report is that the last attempt left: MLflow's experiment and run, and the path among its artifacts."""
PINNED = "pinned.json"
"""What the first attempt has chosen and the later ones keep."""
TRIALS = "trials.json"
"""Of a search: its trials so far."""
EVENT_PREFIX = "BETALINE_EVENT "
DIFFERENCES_SHOWN = 20


class RunFolder:
    """HOME/runs/IDENTITY on any filesystem that pyarrow knows.

    Args:
        home: BETALINE_HOME, a path or a URI.
        identity: The run's name.

    Raises:
        ConfigError: If the name is not fit for a folder and a submission id.
    """

    def __init__(self, home: str, identity: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", identity):
            raise ConfigError(f"a run's name is letters, digits, '_', '.' and '-', got {identity!r}")
        self.location: Location = locate(home) / "runs" / identity
        self.uri = self.location.uri

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder, or None when there is none."""
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
        """Leaves what was refused for whoever asked, as the nearest class of `vae.errors`."""
        known = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        self.write(ERROR, {"type": known.__name__, "message": str(error)})

    def remove(self, name: str) -> None:
        """Removes a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.location.filesystem.delete_file((self.location / name).path)

    def refuse_another_spec(self, wanted: Mapping[str, Any]) -> None:
        """Checks that a run that is here already was asked for the same.

        Raises:
            ConfigError: If it was not, with the differences.
        """
        stored = self.read(SPEC)
        if stored is None or stored == wanted:
            return
        found = differences(stored, wanted)
        raise ConfigError(
            f"{self.uri} holds a run of another specification; {len(found)} of its values differ: "
            f"{'; '.join(found[:DIFFERENCES_SHOWN])}. Give this run another name, or remove that folder"
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something a job reports while it runs."""

    kind: str
    fields: dict[str, Any]


def emit(kind: str, fields: Mapping[str, Any]) -> None:
    """Prints an event for whoever follows the job's log."""
    # Not `print`: Ray Train replaces it inside its workers by one that writes every line twice.
    sys.stdout.write(EVENT_PREFIX + json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()


def parse_event(line: str) -> Event | None:
    """The event on a line of a job's log; None where the line is none."""
    # Ray puts the process and its node before what a worker prints.
    _, found, text = line.partition(EVENT_PREFIX)
    if not found:
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        return None  # an event that another process has printed into: it is shown as log
    kind = fields.pop("kind", None) if isinstance(fields, dict) else None
    return Event(kind=kind, fields=fields) if isinstance(kind, str) else None
