"""The record of a run: its epochs, which of them is best, and whether it is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vae.config import RunConfig, TrainingConfig
from vae.controllers import steps_to_settle
from vae.errors import Diverged
from vae.metrics.likelihood import Bound
from vae.model import VAE
from vae.reports import EpochReport, TrainingResult


@dataclass(frozen=True)
class EpochParts:
    """What an epoch's training came to; see `EpochReport`."""

    train_distortion: float
    train_rate: float
    beta: float
    examples_per_second: float
    elapsed_seconds: float


def diverged(reached: float, epoch: int, step: int, training: TrainingConfig) -> Diverged:
    """What to say of a loss that is no number any more, in an epoch counted from 0."""
    return Diverged(
        f"the loss became {reached} in epoch {epoch + 1} (step {step}); lower training.learning_rate (now "
        f"{training.learning_rate}) or set training.gradient_clip_norm"
    )


class Record:
    """The epochs of one run, and what follows from them.

    Args:
        config: The run.
        total_steps: Its length, if it is not stopped early.
    """

    def __init__(self, config: RunConfig, total_steps: int) -> None:
        self.patience = config.training.patience_epochs
        self.settles_at = steps_to_settle(config.objective)
        self.total_steps = total_steps
        self.history: list[EpochReport] = []

    @property
    def best(self) -> EpochReport | None:
        """The epoch with the lowest validation bound; once the controller has reached β, of the epochs since."""
        return self.history[self.history[-1].best_epoch - 1] if self.history else None

    @property
    def is_over(self) -> bool:
        """Whether the last epoch was the run's last."""
        return bool(self.history) and self.history[-1].is_last

    def add(self, step: int, epoch: int, bound: Bound, parts: EpochParts) -> bool:
        """Takes in an epoch, counted from 0, and returns whether it is the best so far."""
        best = self.best
        # While β still rises, the bound at β = 1 favours the epochs of small β: those count only until β is reached.
        settled = step >= self.settles_at
        is_best = (
            best is None
            or bound.negative_bound < best.validation_negative_bound
            or (settled and best.step < self.settles_at)
        )
        best_epoch, best_negative_bound = (
            (epoch + 1, bound.negative_bound)
            if best is None or is_best
            else (best.epoch, best.validation_negative_bound)
        )
        report = EpochReport(
            epoch=epoch + 1,
            step=step,
            validation_distortion=bound.distortion,
            validation_rate=bound.rate,
            validation_negative_elbo=bound.negative_elbo,
            validation_negative_bound=bound.negative_bound,
            active_units=bound.active_units,
            best_epoch=best_epoch,
            best_negative_bound=best_negative_bound,
            is_last=step == self.total_steps
            or (self.patience is not None and settled and epoch + 1 - best_epoch >= self.patience),
            **asdict(parts),
        )
        self.history.append(report)
        return is_best

    def result(self, model: VAE, resumed_from_step: int) -> TrainingResult:
        """What a run that is over came to, with the model of its best epoch."""
        assert self.best is not None, "the last epoch was validated"
        return TrainingResult(model, tuple(self.history), self.best, resumed_from_step)

    def to_json(self) -> list[dict[str, Any]]:
        """For a checkpoint."""
        return [asdict(report) for report in self.history]

    def restore(self, history: Sequence[dict[str, Any]]) -> None:
        """Takes up what `to_json` gave."""
        self.history = [EpochReport(**report) for report in history]
