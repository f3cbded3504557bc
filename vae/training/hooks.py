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
    """The bound that is trained for, with as many draws, at β = 1: what different settings are compared by."""
    validation_objective: float
    """The loss as it is trained, at the β that the schedule ends with: what the epochs of one run are compared by."""
    constraint_gap: float
    """Nats by which the rate or distortion that the controller holds lies outside its tolerance; 0 without a constraint."""
    active_units: int
    aggregate_std: float
    """Root mean square over the latent's dimensions of the aggregate posterior's standard deviation; N(0, I) has 1."""
    best_epoch: int
    """The epoch whose weights ship, of those so far: see `vae.training.record`."""
    best_objective: float
    """The `validation_objective` of that epoch."""
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
