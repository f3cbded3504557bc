"""Messages of commands in the words of Python: flags of the command line as arguments of `vae.fit`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vae.errors import BetalineError

_SETTINGS = re.compile(
    r"--set (?:'[^']*'|[^\s)]+?(?=[.,;]?(?:[\s)]|$)))(?: --set (?:'[^']*'|[^\s)]+?(?=[.,;]?(?:[\s)]|$))))*"
)
_READINGS = (
    (re.compile(r"--resize HEIGHTxWIDTH"), "reading={'resize': (HEIGHT, WIDTH)}"),
    (re.compile(r"--split 0,0"), "reading={'split': {'validation': 0, 'test': 0}}"),
    (re.compile(r"--color (grey|rgb)"), r"reading={'color': '\1'}"),
    (re.compile(r"--label (\w+)"), r"reading={'label': '\1'}"),
    (re.compile(r"--on-bad (\w+)"), r"reading={'on_bad': '\1'}"),
    (re.compile(r"--dry-run --write-columns FILE.yaml, then --columns FILE.yaml"), "reading={'columns': {NAME: {…}}}"),
    (re.compile(r"--columns, see `betaline ingest --help`"), "reading={'columns': {NAME: {'role': 'feature'}}}"),
    (re.compile(r"--columns( FILE\.yaml)?"), "reading={'columns': {NAME: {…}}}"),
    (re.compile(r"--strict"), "reading={'strict': True}"),
)


def in_python(text: str, argument: str = "changes") -> str:
    """Returns a message with settings of the command line as an argument of `vae.fit`.

    Args:
        text: The message.
        argument: Argument that takes the settings.
    """

    def given(flags: re.Match[str]) -> str:
        pairs = [word.partition("=") for word in shlex.split(flags[0])[1::2]]
        return f"{argument}={{{', '.join(f'{name!r}: {_value(value, name)}' for name, _, value in pairs)}}}"

    return _SETTINGS.sub(given, text)


def _value(text: str, name: str) -> str:
    from pipelines.stages.yaml_files import read_yaml

    value: Any = read_yaml(text, name)
    if name in ("files", "attributes", "categorical") and isinstance(value, str):
        value = [value]
    return "N" if text == "N" else repr(value)


@contextmanager
def reading_in_python() -> Iterator[None]:
    """Names fields of `reading` where an error that the block raises names flags of `betaline ingest`."""
    try:
        yield
    except BetalineError as error:
        text = in_python(str(error), "reading")
        for flag, argument in _READINGS:
            text = flag.sub(argument, text)
        error.args = (text,)
        raise
