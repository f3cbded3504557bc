"""What a run tells: epochs, progress, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass

from vae.model import VAE


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to; equal on every rank. Distortions, rates and bounds are nats per example."""

    epoch: int
    """Counted from 1."""
    step: int
    """Optimiser steps done since the start of the run."""
    beta: float
    train_distortion: float
    train_rate: float
    validation_distortion: float
    validation_rate: float
    validation_negative_elbo: float
    """distortion + rate, whatever β is trained with."""
    validation_negative_bound: float
    """Of the bound that is trained for, with as many draws, at β = 1: what epochs and trials are compared by."""
    active_units: int
    best_epoch: int
    """The epoch with the lowest validation bound so far; once the controller has reached β, of the epochs since."""
    best_negative_bound: float
    """Its bound."""
    examples_per_second: float
    """Of training, over all ranks, since the last report."""
    elapsed_seconds: float
    """Of this process's training, by rank 0's clock; a resumed run counts anew."""
    is_last: bool
    """Whether the run ends here, by its length or for want of progress."""


@dataclass(frozen=True)
class Progress:
    """Where rank 0 is inside an epoch."""

    epoch: int
    step: int
    total_steps: int
    """Optimiser steps of the whole run, if it is not stopped early."""
    examples_per_second: float
    """Over all ranks."""


@dataclass(frozen=True)
class TrainingResult:
    """A finished run."""

    model: VAE
    """With the weights of the best epoch, in evaluation mode."""
    history: tuple[EpochReport, ...]
    best: EpochReport
    resumed_from_step: int
    """0 for a run that was not resumed."""


class Hooks:
    """What a run tells while it goes on; by itself, nobody listens."""

    def on_epoch(self, report: EpochReport) -> None:
        """Called on every rank, at the same epochs."""

    def on_progress(self, progress: Progress) -> None:
        """Called on rank 0, at most once a second."""
