"""Kinds of data in a report."""

from __future__ import annotations

from typing import get_args

import pytest

from pipelines.report.kinds import Kind, kind_named
from vae.data.schema import DataKind


@pytest.mark.parametrize("name", get_args(DataKind))
def test_every_kind_of_data_has_its_file(name: DataKind) -> None:
    """A report finds the words and the figures of every kind by its name."""
    assert isinstance(kind_named(name), Kind)
