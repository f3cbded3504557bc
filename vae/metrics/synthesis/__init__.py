"""Metrics of synthetic rows of a table: likeness to real rows, usefulness, and distance from the training rows."""

from __future__ import annotations

from vae.metrics.synthesis.likeness import check_installed
from vae.metrics.synthesis.suite import synthesis_suite

__all__ = ["check_installed", "synthesis_suite"]
