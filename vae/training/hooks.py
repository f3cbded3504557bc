"""Reports of a run on its epochs, its progress and its result, and the hooks that receive them."""

from __future__ import annotations

from dataclasses import dataclass

from vae.model import VAE


@dataclass(frozen=True)
class EpochReport:
    """Figures of an epoch, equal on every rank; distortions, rates and bounds are in nats per example."""

    epoch: int
    """Number of the epoch, from 1."""
    step: int
    """Optimiser steps done since the start of the run."""
    beta: float
    train_distortion: float
    train_rate: float
    validation_distortion: float
    validation_rate: float
    validation_negative_elbo: float
    """Distortion + rate, whatever β the model is trained with."""
    validation_negative_bound: float
    """Bound that the model is trained for, with as many draws, at β = 1; different settings are compared by it."""
    validation_objective: float
    """Loss as it is trained, at the β that the schedule ends with; the epochs of one run are compared by it."""
    constraint_gap: float
    """Nats by which the rate or distortion that the controller holds lies outside its tolerance; 0 without a constraint."""
    active_units: int
    aggregate_std: float
    """Root mean square over the latent's dimensions of the aggregate posterior's standard deviation; N(0, I) has 1."""
    best_epoch: int
    """Epoch whose weights ship, of those so far; see `vae.training.record`."""
    best_objective: float
    """`validation_objective` of the best epoch."""
    examples_per_second: float
    """Training speed over all ranks since the last report."""
    elapsed_seconds: float
    """Seconds that this process has trained, by rank 0's clock; a resumed run counts anew."""
    is_last: bool
    """Whether the run ends here, by its length or by its early stop."""


@dataclass(frozen=True)
class TrainingResult:
    """A finished run."""

    model: VAE
    """Model with the weights of the best epoch, in evaluation mode."""
    history: tuple[EpochReport, ...]
    best: EpochReport
    resumed_from_step: int
    """Step of the checkpoint that the run was resumed from; 0 for a run that was not resumed."""


class Hooks:
    """Listener to a run; the default does nothing."""

    def on_epoch(self, report: EpochReport) -> None:
        """Receives the report of each epoch, on every rank."""

    def is_leaving(self) -> bool:
        """Returns whether a node of the run is about to go. Every rank asks as often, and gets the same answer."""
        return False
