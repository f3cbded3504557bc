"""Metrics of a model's uses, each beside the simplest answers to the same question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pipelines.report.formats import minus
from pipelines.report.kinds import Kind
from vae.metrics.catalogue import COUNTS, METRICS

# Suffixes of the simplest answers; any other suffix names the features in which a metric was measured.
_BASELINES: Mapping[str, str] = {
    "noisy": "the noisy images",
    "median": "3×3 median filter",
}
_CEILINGS: Mapping[str, str] = {"real": "training rows"}
"""Suffixes of what no answer can be expected to surpass."""


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
    says: str = ""
    """Sentence on what the figure means; empty for a name that says it."""


def measures(metrics: Mapping[str, float], kind: Kind) -> list[Measure]:
    """Returns the metrics of `vae.metrics.suite` by name, each with its baselines."""
    named = {**_BASELINES, "simple": kind.simple, **_CEILINGS}
    rows = []
    for metric, value in metrics.items():
        base, _, suffix = metric.partition(".")
        if suffix in named or base in COUNTS:
            continue
        name, unit, better, says = METRICS.get(base, (metric, "", "", ""))
        name = f"{name} ({suffix})" if suffix and base in METRICS else name
        simple = {answer: metrics[f"{metric}.{end}"] for end, answer in named.items() if f"{metric}.{end}" in metrics}
        baselines = tuple((answer, _written(reached)) for answer, reached in simple.items())
        beats = None
        if better and simple and not {*simple} & {*_CEILINGS.values()}:
            beats = value > max(simple.values()) if better == "higher" else value < min(simple.values())
        rows.append(Measure(name, _written(value), kind.units.get(unit, unit), better, baselines, beats, says))
    return rows


def _written(value: float) -> str:
    return minus(f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}")
