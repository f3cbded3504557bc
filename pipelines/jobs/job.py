"""A job's surroundings, and how it tells what happens."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from pipelines.launch import EVENT_PREFIX
from vae.storage import Location, locate
from vae.errors import RegistryError


class Job:
    """One job's surroundings: its home, its folder, its identity."""

    def __init__(self, spec_uri: str) -> None:
        spec_file = locate(spec_uri)
        spec = json.loads(spec_file.read())
        self.home: str = spec["home"]
        self.identity: str = spec["identity"]
        self.request: dict[str, Any] = spec["request"]
        self.folder: Location = locate(spec_uri.rsplit("/", 1)[0])

    def run_folder(self, identity: str) -> Location:
        """Where the run of an identity keeps its state and its result."""
        return locate(self.home) / "runs" / identity

    def result_of(self, identity: str) -> dict[str, Any]:
        """What another run came to.

        Raises:
            RegistryError: If there is no such run, or it has not finished.
        """
        try:
            return json.loads((self.run_folder(identity) / "result.json").read())
        except FileNotFoundError:
            raise RegistryError(
                f"there is no finished run {identity!r} in {self.home}/runs; `betaline train` prints the name of a run"
            ) from None


def emit(kind: str, fields: Mapping[str, Any]) -> None:
    """Prints an event for whoever follows the job's log."""
    # Not `print`: Ray Train replaces it inside its workers by one that writes every line twice.
    sys.stdout.write(EVENT_PREFIX + json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()
