"""Registered versions and their scores, as records that need no MLflow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Score of a version on a test split."""

    nats: float
    """Negative log-likelihood in nats per example; lower is better."""
    name: str
    """Name of the protocol; scores of two protocols are not compared."""
    dataset_id: str
    """Content address of the dataset."""
    num_examples: int = 0
    """Number of first rows of the split that were scored; 0 if unknown."""
    standard_error: float | None = None
    """Standard error of `nats`, in nats; None if unknown."""


@dataclass(frozen=True)
class Comparison:
    """Difference of two versions' negative log-likelihoods on the same rows, with the same draws."""

    nats: float
    """Mean of the candidate's minus the champion's, in nats per example; negative if the candidate is better."""
    low: float
    """Lower end of the interval of `nats`."""
    high: float
    """Upper end of the interval of `nats`."""
    confidence: float
    """Probability with which the intervals of all looks together hold the mean."""
    num_examples: int
    """Number of rows."""
    total: int
    """Number of rows of the test split."""

    def __str__(self) -> str:
        rows = f"all {self.total:,}" if self.num_examples == self.total else f"{self.num_examples:,} of {self.total:,}"
        return (
            f"{self.nats:+.3f} nats per example, {self.confidence:.0%} interval {self.low:+.3f} to {self.high:+.3f}, "
            f"on {rows} test rows"
        )


@dataclass(frozen=True)
class Version:
    """A registered version."""

    name: str
    """Name of the registered model."""
    version: str
    """Number of the version."""
    uri: str
    """URI that `mlflow.pyfunc.load_model` takes."""
    run_id: str
    """Id of the training run in MLflow."""
    score: Score | None
    """Score at registration; None for a version that betaline did not register."""
    aliases: tuple[str, ...]
    """Aliases that point at the version."""
