"""What a job is asked, and where it leaves what it finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pipelines.cluster.runs import LEFT, PINNED, RESULT, RunFolder
from vae.errors import RegistryError
from vae.storage import locate


class Job:
    """One job: its request, its identity, and its run's folder.

    Args:
        spec_uri: Path or URI of the run's `spec.json`.
    """

    def __init__(self, spec_uri: str) -> None:
        spec = json.loads(locate(spec_uri).read())
        self.home: str = spec["home"]
        self.identity: str = spec["identity"]
        self.request: dict[str, Any] = spec["request"]
        self.folder = RunFolder(self.home, self.identity)

    def pinned(self, name: str, decide: Callable[[], str]) -> str:
        """A choice that the run's first attempt makes and the later ones keep, such as which dataset a name meant."""
        kept = self.folder.read(PINNED) or {}
        if name not in kept:
            kept = {**kept, name: decide()}
            self.folder.write(PINNED, kept)
        return kept[name]

    def kept(self, name: str) -> str:
        """A choice that the run's first attempt has made.

        Raises:
            RegistryError: If it has not.
        """
        kept = self.folder.read(PINNED) or {}
        if name not in kept:
            raise RegistryError(f"run {self.identity} has not begun")
        return kept[name]

    def result_of(self, identity: str) -> dict[str, Any]:
        """Returns the result of another run; of a training that diverged, what it has left.

        Raises:
            RegistryError: If there is no such run, or it has not finished.
        """
        folder = RunFolder(self.home, identity)
        found = folder.read(RESULT) or folder.read(LEFT)
        if found is None:
            raise RegistryError(
                f"there is no finished run {identity!r} in {self.home}/runs; `betaline train` prints the name of a run"
            )
        return found
