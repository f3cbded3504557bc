"""Watching of a source: whether it has changed since its ingest, and has stopped changing."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pyarrow import fs

from vae.errors import DataError
from vae.storage import Location, locate, write_whole

Step = Literal["unchanged", "changing", "ready"]


class Watch:
    """The state of a watched source, stored in HOME/watched/NAME.json.

    Args:
        home: BETALINE_HOME, a path or a URI.
        name: Name of the dataset.
        source: A file, a folder, or a prefix of a bucket.
    """

    def __init__(self, home: str, name: str, source: str) -> None:
        self.file: Location = locate(home) / "watched" / f"{name}.json"
        self.source = source

    def look(self) -> tuple[Step, str]:
        """Compares the source with its last states; returns the step and the source's fingerprint, for `done`.

        `unchanged` is the state that was last done; `changing` differs from the last look, so that files may still be
        arriving; `ready` is new and equals the last look.

        Raises:
            DataError: If the source does not exist.
        """
        now = fingerprint(self.source)
        state = self._state()
        if now == state.get("done"):
            return "unchanged", now
        if now != state.get("seen"):
            self._store({**state, "seen": now})
            return "changing", now
        return "ready", now

    def done(self, fingerprint: str) -> None:
        """Stores the fingerprint that was ingested or refused; the source is not tried again before it changes."""
        self._store({"seen": fingerprint, "done": fingerprint})

    def _state(self) -> dict[str, str]:
        try:
            state = json.loads(self.file.read())
        except FileNotFoundError:
            return {}
        return state if state.get("source") == self.source else {}

    def _store(self, state: dict[str, str]) -> None:
        write_whole(self.file, json.dumps({**state, "source": self.source}).encode())


def fingerprint(source: str) -> str:
    """Returns a digest of the names, sizes and modification times of a source's files, without reading them.

    Raises:
        DataError: If the source does not exist.
    """
    place = locate(source)
    info = place.info()
    if info.type == fs.FileType.NotFound:
        raise DataError(f"{source} does not exist; a watched source must exist, and may be empty")
    files = place.list(recursive=True) if info.type == fs.FileType.Directory else [info]
    lines = sorted(f"{one.path}\t{one.size}\t{one.mtime_ns}" for one in files if one.type == fs.FileType.File)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
