"""Duration of a run, and what it reserved of the cluster meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.report.formats import seconds
from vae.config import RunConfig


@dataclass(frozen=True)
class Stage:
    """One stage of a run by the wall clock, and what it reserved of the cluster, used or not."""

    name: str
    seconds: float
    cpus: float | None = None
    """CPU cores reserved; None if they were not counted."""
    gpus: float = 0.0
    """GPUs reserved."""

    @property
    def cpu_hours(self) -> float | None:
        """CPU cores times hours; None if the cores were not counted."""
        return None if self.cpus is None else self.cpus * self.seconds / 3600

    @property
    def gpu_hours(self) -> float | None:
        """GPUs times hours; None if they were not counted."""
        return None if self.cpus is None else self.gpus * self.seconds / 3600


def training_stage(config: RunConfig, spent_seconds: float) -> Stage:
    """Returns the stage of a training, with what its workers reserve."""
    scaling = config.scaling
    workers = scaling.num_workers
    return Stage("train", spent_seconds, workers * scaling.cpus_per_worker, workers * scaling.gpus_per_worker)


def pace(config: RunConfig, history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Returns how fast a model was trained, as names and values; empty without an epoch."""
    if not history:
        return []
    rows = [("epochs", f"{len(history):,} of {config.training.epochs:,} at most")]
    if "step" in history[-1]:
        steps = history[-1]["step"]
        rows.append(("optimiser steps", f"{steps:,}"))
        rows.append(("examples seen", f"{steps * config.training.batch_size:,}"))
    if speeds := [epoch["examples_per_second"] for epoch in history if epoch.get("examples_per_second")]:
        rows.append(("examples per second", f"{statistics.median(speeds):,.0f} (median over the epochs)"))
    elapsed = [epoch.get("elapsed_seconds", 0.0) for epoch in history]
    # The clock starts anew when a run is resumed.
    if steps := [after - before for before, after in zip([0.0, *elapsed], elapsed, strict=False) if after > before]:
        rows.append(("seconds per epoch", f"{seconds(statistics.median(steps))} (median, with validation)"))
    return rows
