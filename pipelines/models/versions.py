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
