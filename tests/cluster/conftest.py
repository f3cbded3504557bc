"""Fixtures of the tests of several nodes: a training of two workers, long enough to be hit in mid-epoch."""

from __future__ import annotations

import pytest

from tests.faults.table import measured
from tests.pipelines.conftest import small, tiny
from tests.trainings import long
from vae.config import RunConfig

__all__ = ["measured", "small", "tiny"]


@pytest.fixture(scope="session")
def two_workers(tiny: RunConfig) -> RunConfig:
    """12 epochs of 718 steps, with a checkpoint at every hundredth: what it tells arrives some seconds late."""
    return long(tiny, epochs=12, num_workers=2)
