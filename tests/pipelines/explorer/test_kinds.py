"""Kinds of data in the explorer."""

from __future__ import annotations

from typing import get_args

import pytest

from pipelines.explorer.kinds import kind_named
from vae.data.schema import DataKind


@pytest.mark.parametrize("name", get_args(DataKind))
def test_every_kind_of_data_has_its_file(name: DataKind) -> None:
    """The explorer finds how to read and to draw examples of every kind by its name, and each has all the words."""
    kind = kind_named(name)
    words = ("prefix", "upload", "accepts", "file")
    assert all(isinstance(getattr(kind, word), str) for word in words)
