"""YAML as people write it: no objects, no key given twice."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vae.errors import ConfigError


def read_yaml(text: str, where: str) -> Any:
    """Plain values out of YAML (or JSON, which is YAML).

    Raises:
        ConfigError: If it is not YAML, names an object to build, or gives a key twice.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigError(f"{where} is not plain YAML: {' '.join(str(error).split())[:400]}") from None


def read_mapping(file: Path) -> dict[str, Any]:
    """A file's top-level mapping.

    Raises:
        ConfigError: If there is no such file, or it holds something else.
    """
    try:
        text = file.read_text()
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {file}: {error}") from None
    found = read_yaml(text, str(file))
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: expected a mapping of fields to values, found {type(found).__name__}")
    return found


def write_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML that `read_mapping` reads back."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    stream = io.StringIO()
    writer.dump(dict(values), stream)
    return stream.getvalue()
