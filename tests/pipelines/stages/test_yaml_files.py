"""YAML from users: plain values, no objects, no key twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.stages.yaml_files import read_mapping, read_yaml, write_yaml
from vae.config import RunConfig, parse
from vae.errors import ConfigError


def test_configuration_written_is_read_back(tmp_path: Path) -> None:
    """The best configuration that a search writes is the one that a training reads."""
    file = tmp_path / "best.yaml"
    file.write_text(write_yaml(RunConfig().model_dump(mode="json")))
    assert parse(RunConfig, read_mapping(file)) == RunConfig()


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2\n", "!!python/object/apply:os.system [true]", "!!python/name:os.system ''", "a: [1\n"],
    ids=["key-twice", "object", "name", "unclosed"],
)
def test_yaml_that_is_not_plain_is_refused(text: str) -> None:
    """A key given twice, an object to build and broken syntax are refused with the place they came from."""
    with pytest.raises(ConfigError, match=r"^config\.yaml is not plain YAML"):
        read_yaml(text, "config.yaml")


def test_file_without_a_mapping_is_refused(tmp_path: Path) -> None:
    """A list and a missing file are refused by name."""
    file = tmp_path / "list.yaml"
    file.write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping of fields to values, found list"):
        read_mapping(file)
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        read_mapping(tmp_path / "absent.yaml")
