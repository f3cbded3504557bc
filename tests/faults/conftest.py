"""What the tests of faults share: a training that is long enough to be hit in mid-epoch, and what it comes to unhit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipelines.data.ingest import IngestResult
from pipelines.flows.train import train
from pipelines.stages.train import TrainRequest
from tests.faults.table import measured
from tests.pipelines.conftest import digits, prefect, run_flow, tiny
from tests.trainings import STEPS_PER_EPOCH, long, weights_of
from vae.config import RunConfig, override
from vae.training.state import MANIFEST

__all__ = ["digits", "measured", "prefect", "tiny"]

EPOCHS = 6
STEPS = EPOCHS * STEPS_PER_EPOCH


@pytest.fixture(scope="session")
def asked(digits: IngestResult, tiny: RunConfig) -> Callable[..., TrainRequest]:
    """Asks for a training of 6 epochs on so many workers, with a checkpoint at every hundredth step and nowhere else."""

    def ask(num_workers: int, changes: Mapping[str, Any] | None = None) -> TrainRequest:
        config = override(long(tiny, epochs=EPOCHS, num_workers=num_workers), changes or {})
        return TrainRequest(dataset="digits", name="faults", config=config)

    return ask


@pytest.fixture(scope="session")
def unbroken(asked: Callable[..., TrainRequest]) -> Callable[[int], bytes]:
    """The weights that so many workers come to where nothing happens."""

    @cache
    def weights(num_workers: int) -> bytes:
        return weights_of(run_flow(train, asked(num_workers), run=f"unbroken-{num_workers}"))

    return weights


def checkpoints_of(home: Path, run: str) -> dict[int, Path]:
    """The folders of a run's committed checkpoints by their steps, oldest first."""
    folders = sorted(file.parent for file in (home / "runs" / run / "checkpoints").glob(f"*/{MANIFEST}"))
    return {int(folder.name.removeprefix("step-")): folder for folder in folders}


def flip_a_byte(file: Path) -> None:
    """Changes a byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
