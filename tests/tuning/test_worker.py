"""Reports of a worker on its lanes."""

from __future__ import annotations

from tuning.worker import _steps_per_second
from vae.training.hooks import EpochReport


def report(epoch: int, elapsed_seconds: float) -> EpochReport:
    """Of a run that takes 10 steps in an epoch."""
    return EpochReport(
        epoch=epoch, step=10 * epoch, beta=1.0, train_distortion=9.0, train_rate=1.0, validation_distortion=9.0,
        validation_rate=1.0, validation_negative_elbo=10.0, validation_negative_bound=10.0, active_units=2,
        aggregate_std=1.0, constraint_gap=0.0,
        best_epoch=epoch, best_objective=10.0, validation_objective=10.0,
        examples_per_second=1e4, elapsed_seconds=elapsed_seconds,
        is_last=False,
    )  # fmt: skip


def test_speed_is_that_of_the_last_epoch() -> None:
    """By the clock of the process that trained it, which starts anew in one that took the training up."""
    assert _steps_per_second([]) is None
    assert _steps_per_second([report(1, 4.0)]) == 2.5
    assert _steps_per_second([report(1, 4.0), report(2, 6.0)]) == 5.0
    assert _steps_per_second([report(1, 4.0), report(2, 6.0), report(3, 2.0)]) == 5.0
