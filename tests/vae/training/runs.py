"""Short runs on few digits, runs that are cut off, and the comparison of two runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vae.config import RunConfig, override
from vae.data.batches import Batch, Feed
from vae.data.parquet import Dataset
from vae.training.hooks import EpochReport, TrainingResult
from vae.training.loop import Training

ROWS, BATCH, EPOCHS = 231, 32, 3
PER_EPOCH = ROWS // BATCH
STEPS = PER_EPOCH * EPOCHS
NEVER = 1e9
CLOCKS = {"examples_per_second", "elapsed_seconds"}

BASE = override(
    RunConfig(),
    {
        "model.latent_dim": 2,
        "model.encoder": {"kind": "mlp", "hidden": [8]},
        "training.epochs": EPOCHS,
        "training.batch_size": BATCH,
        "training.learning_rate": 1e-2,
        "training.patience_epochs": None,
        "training.checkpoint_seconds": NEVER,
    },
)


class Killed(Exception):  # noqa: N818  stands for a signal
    """Stands for the end of a process."""


class CutFeed(Feed):
    """A feed that ends the run after so many batches."""

    def __init__(self, feed: Feed, batches: int) -> None:
        self.feed = feed
        self.order, self.places, self.held_bytes = feed.order, feed.places, feed.held_bytes
        self.left = batches
        self.taken: list[tuple[int, int]] = []
        """Epoch and step of each batch."""

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        for step, batch in enumerate(self.feed.epoch(epoch, first_step), first_step):
            if not self.left:
                raise Killed
            self.left -= 1
            self.taken.append((epoch, step))
            yield batch


def train(config: RunConfig, dataset: Dataset, **options: Any) -> TrainingResult:
    return Training(config, dataset, **options).run()


def kill_after(steps: int, config: RunConfig, dataset: Dataset, checkpoints: Path) -> None:
    training = Training(config, dataset, checkpoints=str(checkpoints))
    training.feed = CutFeed(training.feed, steps)
    with pytest.raises(Killed):
        training.run()


def metrics(history: tuple[EpochReport, ...]) -> list[dict[str, Any]]:
    """The history without what a clock measured."""
    return [{name: value for name, value in asdict(report).items() if name not in CLOCKS} for report in history]


def weights(result: TrainingResult) -> dict[str, Tensor]:
    return result.model.state_dict()


def assert_same_run(resumed: TrainingResult, unbroken: TrainingResult) -> None:
    assert metrics(resumed.history) == metrics(unbroken.history)
    assert metrics((resumed.best,)) == metrics((unbroken.best,))
    for name, value in weights(unbroken).items():
        assert torch.equal(weights(resumed)[name], value), name
