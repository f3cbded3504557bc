"""Record of a run: its epochs, the epoch that ships, and whether the run is over.

The one rule by which an epoch is chosen:

1. Epochs after the schedule of β has ended come before those during it.
2. Epochs that hold the controller's constraint come before those that do not, and of these the nearest comes first.
3. The lowest validation value of what is minimised wins: the trained objective; where a rate is held, the bound at β = 1;
   where a distortion is held, the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vae.config import RunConfig
from vae.model import VAE
from vae.training.hooks import EpochReport, TrainingResult
from vae.training.validation import Validated


@dataclass(frozen=True)
class EpochParts:
    """Training figures of an epoch; see `EpochReport`."""

    train_distortion: float
    train_rate: float
    beta: float
    examples_per_second: float
    elapsed_seconds: float


class Record:
    """Epochs of one run, with the best of them and the early stop.

    Args:
        config: The run.
        total_steps: Optimiser steps of the run without an early stop.
    """

    def __init__(self, config: RunConfig, total_steps: int) -> None:
        self.config = config
        self.total_steps = total_steps
        self.settles_at = config.objective.controller.steps_to_settle(total_steps)
        self.history: list[EpochReport] = []

    @property
    def best(self) -> EpochReport | None:
        """Epoch that ships, of those so far; None before the first."""
        return self.history[self.history[-1].best_epoch - 1] if self.history else None

    @property
    def is_over(self) -> bool:
        """Whether the last epoch was the run's last."""
        return bool(self.history) and self.history[-1].is_last

    def add(self, step: int, epoch: int, validated: Validated, parts: EpochParts) -> bool:
        """Records an epoch, counted from 0, and returns whether it is the best so far."""
        bound, best = validated.bound, self.best
        report = EpochReport(
            epoch=epoch + 1,
            step=step,
            validation_distortion=bound.distortion,
            validation_rate=bound.rate,
            validation_negative_elbo=bound.negative_elbo,
            validation_negative_bound=bound.negative_bound,
            validation_objective=validated.objective,
            constraint_gap=self.config.objective.controller.gap(bound.distortion, bound.rate),
            active_units=bound.active_units,
            aggregate_std=bound.aggregate_std,
            best_epoch=epoch + 1,
            best_objective=validated.objective,
            is_last=step == self.total_steps,
            **asdict(parts),
        )
        is_best = best is None or self._order(report) < self._order(best)
        if best is not None and not is_best:
            report = replace(report, best_epoch=best.epoch, best_objective=best.validation_objective)
        report = replace(report, is_last=report.is_last or self._has_lost_patience(report))
        self.history.append(report)
        return is_best

    def _order(self, report: EpochReport) -> tuple[bool, float, float]:
        """Returns the key that sorts epochs, the best first; see the top of this file."""
        values = {
            "objective": report.validation_objective,
            "rate": report.validation_rate,
            "bound": report.validation_negative_bound,
        }
        return report.step < self.settles_at, report.constraint_gap, values[self.config.objective.controller.epoch_by]

    def _has_lost_patience(self, report: EpochReport) -> bool:
        """Returns whether the run stops after an epoch because no better one came for too long.

        Epochs count once β has settled and the learning rate has risen, and only while the constraint is held.
        """
        patience = self.config.training.patience_epochs
        if patience is None:
            return False
        since = [*self.history, report][report.best_epoch :]
        return sum(self._counts(epoch) for epoch in since) >= patience

    def _counts(self, report: EpochReport) -> bool:
        """Returns whether an epoch that is no better than the best counts against the patience."""
        ready_at = max(self.settles_at, self.config.training.warmup_steps)
        is_held = self.config.objective.controller.is_at_constraint(
            report.validation_distortion, report.validation_rate
        )
        return report.step >= ready_at and is_held

    def result(self, model: VAE, resumed_from_step: int) -> TrainingResult:
        """Returns the result of a run that is over, with the model of its best epoch."""
        assert self.best is not None, "the last epoch was validated"
        return TrainingResult(model, tuple(self.history), self.best, resumed_from_step)

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the history as a checkpoint stores it."""
        return [asdict(report) for report in self.history]

    def restore(self, history: Sequence[dict[str, Any]]) -> None:
        """Restores a history that `to_json` returned."""
        self.history = [EpochReport(**report) for report in history]
