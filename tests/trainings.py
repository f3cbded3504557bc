"""Trainings that are long enough to be hit in mid-epoch, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.cluster.runs import Event
from vae.config import RunConfig, override

INTERVAL = 100
"""Steps between checkpoints."""
STEPS_PER_EPOCH = 718
"""Of scikit-learn's digits in batches of two."""


def long(config: RunConfig, *, epochs: int, num_workers: int) -> RunConfig:
    """So many epochs of many short steps, with a checkpoint at every hundredth and nowhere else."""
    changes = {
        "training.epochs": epochs,
        "training.batch_size": 2,
        "training.checkpoint_steps": INTERVAL,
        "training.checkpoint_seconds": 1e9,
        "scaling.num_workers": num_workers,
    }
    return override(config, changes)


def steps_of(event: Event) -> int:
    """Returns the steps that a `long` training says are done; -1 for an event of something else."""
    if event.kind != "progress" or event.fields["part"] != "training":
        return -1
    return int(event.fields["done"]) // 2


def weights_of(result: Any) -> bytes:
    """The file of a finished training's weights, from the result of a stage or of its job."""
    model = result["model"] if isinstance(result, dict) else result.model
    return Path(model, "weights.safetensors").read_bytes()
