"""Metrics of a model's uses, each beside the simplest answers to the same question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pipelines.report.formats import minus
from vae.metrics.catalogue import COUNTS, METRICS

# Suffixes of the simplest answers; any other suffix names the features in which a metric was measured.
BASELINES: Mapping[str, str] = {
    "noisy": "the noisy images",
    "median": "3×3 median filter",
    "simple": "each column's mean or commonest category",
}
PIXEL_BASELINES: Mapping[str, str] = {**BASELINES, "simple": "each pixel's mean"}
PIXEL_UNITS: Mapping[str, str] = {"standard deviations": "of the pixels' range"}


class Measure(NamedTuple):
    """One metric of the model, and the same metric of the simplest answers."""

    name: str
    value: str
    unit: str
    better: Literal["higher", "lower", ""]
    baselines: tuple[tuple[str, str], ...]
    """Name and value of each simple answer; empty if there is only chance to compare with."""
    beats: bool | None
    """True if the model is better than all simple answers; None without any."""


def measures(metrics: Mapping[str, float], *, is_table: bool) -> list[Measure]:
    """Returns the metrics of `vae.metrics.suite` by name, each with its baselines."""
    named, units = (BASELINES, {}) if is_table else (PIXEL_BASELINES, PIXEL_UNITS)
    rows = []
    for metric, value in metrics.items():
        base, _, suffix = metric.partition(".")
        if suffix in BASELINES or base in COUNTS:
            continue
        name, unit, better = METRICS.get(base, (metric, "", ""))
        name = f"{name} ({suffix})" if suffix and base in METRICS else name
        simple = {named[end]: metrics[f"{metric}.{end}"] for end in BASELINES if f"{metric}.{end}" in metrics}
        baselines = tuple((answer, _written(reached)) for answer, reached in simple.items())
        beats = None
        if simple and better:
            beats = value > max(simple.values()) if better == "higher" else value < min(simple.values())
        rows.append(Measure(name, _written(value), units.get(unit, unit), better, baselines, beats))
    return rows


def _written(value: float) -> str:
    return minus(f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}")
