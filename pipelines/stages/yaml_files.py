"""Plain YAML: no objects, no key given twice, and no more values than a person writes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from vae.errors import ConfigError

_MOST_VALUES = 100_000


def read_yaml(text: str, where: str) -> Any:
    """Returns the plain values of a YAML text, or of a JSON text, which is YAML.

    Args:
        text: The YAML.
        where: Name of the file or option that holds it, for errors.

    Raises:
        ConfigError: If it is not YAML, names an object to build, gives a key twice, or has too many values.
    """
    reader = YAML(typ="safe", pure=True)
    try:
        _refuse_unfolding(reader.compose(text), where)
        return reader.load(text)
    except YAMLError as error:
        raise ConfigError(f"{where} is not plain YAML: {' '.join(str(error).split())[:400]}") from None
    except RecursionError:
        raise ConfigError(f"{where} is not plain YAML: it is nested too deeply") from None


def _refuse_unfolding(node: Node | None, where: str) -> None:
    """Refuses a few lines of aliases to aliases, which unfold to billions of values."""
    waiting, seen = [node], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise ConfigError(f"{where} unfolds to more than {_MOST_VALUES:,} values; write out what its aliases mean")
        if isinstance(part, MappingNode):
            waiting += [value for pair in part.value for value in pair]
        elif isinstance(part, SequenceNode):
            waiting += part.value


def read_mapping(file: Path) -> dict[str, Any]:
    """Returns the top-level mapping of a YAML or JSON file.

    Raises:
        ConfigError: If the file cannot be read, or holds something else.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {file}: {error}") from None
    values = read_yaml(text, str(file))
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected a mapping of fields to values, found {type(values).__name__}")
    return values


def write_yaml(values: Mapping[str, Any]) -> str:
    """Returns plain values as YAML that `read_mapping` reads back."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    stream = io.StringIO()
    writer.dump(dict(values), stream)
    return stream.getvalue()
