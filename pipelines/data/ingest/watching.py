"""Watching a source: whether it has changed since it was ingested, and has come to rest."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pyarrow import fs

from vae.errors import DataError
from vae.storage import Location, locate, write_whole

Step = Literal["unchanged", "changing", "ready"]


class Watch:
    """What is remembered of a watched source, in HOME/watched/NAME.json.

    Args:
        home: BETALINE_HOME, a path or a URI.
        name: Of the dataset.
        source: A file, a folder, or a prefix of a bucket.
    """

    def __init__(self, home: str, name: str, source: str) -> None:
        self.file: Location = locate(home) / "watched" / f"{name}.json"
        self.source = source

    def look(self) -> tuple[Step, str]:
        """Whether the source is as it was when it was done with; is not what it was at the last look, so that files may
        still be on their way; or is ready. And its fingerprint, for `done`.

        Raises:
            DataError: If there is no such source.
        """
        now = fingerprint(self.source)
        known = self._known()
        if now == known.get("done"):
            return "unchanged", now
        if now != known.get("seen"):
            self._remember({**known, "seen": now})
            return "changing", now
        return "ready", now

    def done(self, fingerprint: str) -> None:
        """Remembers what was ingested, or refused: it is not tried again before it changes."""
        self._remember({"seen": fingerprint, "done": fingerprint})

    def _known(self) -> dict[str, str]:
        try:
            known = json.loads(self.file.read())
        except FileNotFoundError:
            return {}
        return known if known.get("source") == self.source else {}

    def _remember(self, known: dict[str, str]) -> None:
        write_whole(self.file, json.dumps({**known, "source": self.source}).encode())


def fingerprint(source: str) -> str:
    """A digest of the names, sizes and times of change of a source's files; none is read.

    Raises:
        DataError: If there is no such source.
    """
    place = locate(source)
    info = place.info()
    if info.type == fs.FileType.NotFound:
        raise DataError(f"{source} is not there; a watched source must exist, and may be empty")
    found = place.list(recursive=True) if info.type == fs.FileType.Directory else [info]
    lines = sorted(f"{one.path}\t{one.size}\t{one.mtime_ns}" for one in found if one.type == fs.FileType.File)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
