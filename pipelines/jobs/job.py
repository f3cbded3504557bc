"""A job's request, its identity, and the files of its run."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from pipelines.cluster.runs import LEFT, PINNED, RESULT, RunFolder
from vae.config import parse
from vae.errors import RegistryError
from vae.storage import locate

RequestT = TypeVar("RequestT", bound=BaseModel)


class Job(Generic[RequestT]):
    """One job.

    Args:
        spec_uri: Path or URI of the run's `spec.json`.
        kind: Type of its request.
    """

    def __init__(self, spec_uri: str, kind: type[RequestT]) -> None:
        spec = json.loads(locate(spec_uri).read())
        self.home: str = spec["home"]
        self.identity: str = spec["identity"]
        self.folder = RunFolder(self.home, self.identity)
        self._spec, self._kind = spec, kind

    @cached_property
    def request(self) -> RequestT:
        """The request, parsed once."""
        return parse(self._kind, self._spec["request"], self.identity)

    def pinned(self, name: str, decide: Callable[[], str]) -> str:
        """Returns a choice that the first attempt makes and later ones keep, such as the dataset that a name meant."""
        kept = self.folder.read(PINNED) or {}
        if name not in kept:
            kept = {**kept, name: decide()}
            self.folder.write(PINNED, kept)
        return kept[name]

    def kept(self, name: str) -> str:
        """Returns a choice that the run's first attempt has made.

        Raises:
            RegistryError: If no attempt has begun.
        """
        kept = self.folder.read(PINNED) or {}
        if name not in kept:
            raise RegistryError(f"run {self.identity} has not begun")
        return kept[name]

    def result_of(self, identity: str) -> dict[str, Any]:
        """Returns the result of another run as JSON; for a training that diverged, what it left behind.

        Raises:
            RegistryError: If there is no such run, or it has not finished.
        """
        folder = RunFolder(self.home, identity)
        result = folder.read(RESULT) or folder.read(LEFT)
        if result is None:
            raise RegistryError(
                f"there is no finished run {identity!r} in {self.home}/runs; `betaline train` prints the name of a run"
            )
        return result
