"""The files of one run: what was asked, and what came of it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyarrow import fs

from vae.errors import ConfigError


class RunFolder:
    """HOME/runs/IDENTITY on any filesystem that pyarrow knows: spec.json, and result.json or error.json.

    Args:
        home: BETALINE_HOME, a path or a URI.
        identity: The run's name.
    Raises:
        ConfigError: If the name is not fit for a folder and a submission id.
    """

    def __init__(self, home: str, identity: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", identity):
            raise ConfigError(f"a run's name is letters, digits, '_', '.' and '-', got {identity!r}")
        uri = home if "://" in home else str(Path(home).expanduser().absolute())
        self.uri = f"{uri.rstrip('/')}/runs/{identity}"
        self._filesystem, self._path = fs.FileSystem.from_uri(self.uri)

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder, or None when there is none."""
        try:
            with self._filesystem.open_input_stream(f"{self._path}/{name}") as file:
                return json.loads(file.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, record: Mapping[str, Any]) -> str:
        """Write a JSON file as a whole or not at all; returns its URI."""
        self._filesystem.create_dir(self._path, recursive=True)
        staged = f"{self._path}/{name}.staged"
        with self._filesystem.open_output_stream(staged) as file:
            file.write(json.dumps(record, allow_nan=False, indent=2).encode())
        self._filesystem.move(staged, f"{self._path}/{name}")
        return f"{self.uri}/{name}"

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(f"{self._path}/{name}")

    def refuse_another_spec(self, wanted: Mapping[str, Any]) -> None:
        """Check that a run that is here already was asked for the same.

        Raises:
            ConfigError: If it was not, with the differences.
        """
        stored = self.read("spec.json")
        if stored is None or stored == wanted:
            return
        there, here = dict(_leaves(stored)), dict(_leaves(wanted))
        names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        shown = ", ".join(
            f"{name} ({there.get(name, 'absent')!r} there, {here.get(name, 'absent')!r} here)" for name in names[:20]
        )
        raise ConfigError(
            f"{self.uri} holds a run of another specification; {len(names)} of its values differ: {shown}. "
            "Give this run another name, or remove that folder"
        )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested JSON objects with its dotted name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else key)
    else:
        yield name, value
