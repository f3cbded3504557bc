"""Drift: fresh data is compared with the data that a registered model was trained on."""

from __future__ import annotations

from pipelines.models.drift import Finding
from pipelines.stages.fields import Name, Result
from vae.config import Positive, Section


class DriftRequest(Section):
    """Compare fresh data with the data that a registered model was trained on."""

    name: Name
    """Name of the registered model."""
    dataset: str
    """Fresh data: NAME (its newest version), NAME@ID, or the URI of a dataset's folder."""
    alias: Name = "champion"
    """Alias of the version to compare with."""
    max_rows: Positive = 2000
    """Largest number of rows to read."""


class DriftResult(Result):
    """Figures of fresh data beside those of the training data."""

    name: str
    """Name of the registered model."""
    version: str
    """Number of its version."""
    alias: str
    """Alias by which the version was found."""
    dataset: str
    """URI of the fresh dataset's folder."""
    dataset_id: str
    """Content address of the fresh dataset."""
    num_examples: int
    """Number of rows read."""
    findings: tuple[Finding, ...]
    """Every compared figure."""
    drifted: bool
    """Whether any figure moved further than it may."""
