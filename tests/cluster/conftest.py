"""What the tests of several nodes share: a training of two workers that is long enough to be hit in mid-epoch."""

from __future__ import annotations

import pytest

from tests.pipelines.conftest import small, tiny
from vae.config import RunConfig, override

__all__ = ["small", "tiny"]


@pytest.fixture(scope="session")
def two_workers(tiny: RunConfig) -> RunConfig:
    """12 epochs of 718 steps, with a checkpoint at every hundredth: what it tells arrives some seconds late."""
    changes = {
        "training.epochs": 12,
        "training.batch_size": 2,
        "training.checkpoint_steps": 100,
        "training.checkpoint_seconds": 1e9,
        "scaling.num_workers": 2,
    }
    return override(tiny, changes)
