"""How long a run took, and what it held of the cluster meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.report.wording import seconds
from vae.config import RunConfig


@dataclass(frozen=True)
class Stage:
    """A part of a run by the wall clock, and what it had reserved of the cluster, used or not."""

    name: str
    seconds: float
    cpus: float | None = None
    """Cores; None where they were not counted."""
    gpus: float = 0.0

    @property
    def cpu_hours(self) -> float | None:
        return None if self.cpus is None else self.cpus * self.seconds / 3600

    @property
    def gpu_hours(self) -> float | None:
        return None if self.cpus is None else self.gpus * self.seconds / 3600


def training_stage(config: RunConfig, spent_seconds: float) -> Stage:
    """A training by what its workers hold."""
    scaling = config.scaling
    workers = scaling.num_workers
    return Stage("train", spent_seconds, workers * scaling.cpus_per_worker, workers * scaling.gpus_per_worker)


def pace(config: RunConfig, history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """How fast a model was trained: names and values; empty without an epoch."""
    if not history:
        return []
    found = [("epochs", f"{len(history):,} of {config.training.epochs:,} at most")]
    if "step" in history[-1]:
        steps = history[-1]["step"]
        found.append(("optimiser steps", f"{steps:,}"))
        found.append(("examples seen", f"{steps * config.training.batch_size:,}"))
    if speeds := [epoch["examples_per_second"] for epoch in history if epoch.get("examples_per_second")]:
        found.append(("examples per second", f"{statistics.median(speeds):,.0f} (median over the epochs)"))
    if per_epoch := _seconds_per_epoch([epoch.get("elapsed_seconds", 0.0) for epoch in history]):
        found.append(("seconds per epoch", f"{seconds(per_epoch)} (median, with validation)"))
    return found


def _seconds_per_epoch(elapsed: Sequence[float]) -> float | None:
    """The median time between epochs; the clock starts anew where a run was resumed."""
    steps = [after - before for before, after in zip([0.0, *elapsed], elapsed, strict=False) if after > before]
    return statistics.median(steps) if steps else None
