"""What a search found: the trade between rate and distortion, and the trial to go on with."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from vae.errors import ClusterError

SEED = "training.seed"
TARGET = re.compile(r"(rate|distortion) *<= *(\d+(?:\.\d+)?)")
"""The best reconstruction at no more than a rate, or the lowest rate at no more than a distortion, in nats."""

MORE_IS_BETTER = ("active_units", "mig", "udr", "denoise_psnr")


@dataclass(frozen=True)
class Trial:
    """One trial at the epoch that ships: see `Record`. Figures are of the validation split, in nats per example."""

    trial_id: str
    """Of a lane of a stack: that of the stack, a dot, and the lane's number."""
    parameters: dict[str, Any]
    """What the search drew: dotted field to value, or to its label."""
    status: str
    """`finished`, `stopped` early by the scheduler, `running`, or `failed`."""
    epochs: int
    distortion: float | None = None
    rate: float | None = None
    negative_bound: float | None = None
    """Of the bound the trial was trained for, at β = 1, whatever β it was trained with."""
    active_units: int | None = None
    error: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    """What was measured of the best epoch's model on the validation split, for the rule that chooses."""
    steps: int = 0
    """Optimiser steps done."""
    steps_per_second: float | None = None
    """In its last epoch, validation included; the lanes of a stack take their steps together."""


@dataclass(frozen=True)
class Candidate:
    """Trials that differ in their seed alone."""

    trials: tuple[Trial, ...]
    scores: tuple[float, ...]
    """Of each, the less the better."""

    @property
    def mean(self) -> float:
        """What candidates are compared by, so that a lucky seed does not win."""
        return fmean(self.scores)

    @property
    def standard_error(self) -> float | None:
        """Of the mean; None for a single trial."""
        return stdev(self.scores) / math.sqrt(len(self.scores)) if len(self.scores) > 1 else None

    @property
    def typical(self) -> Trial:
        """The trial nearest to the mean: its configuration, trained again, comes to what it was chosen for."""
        order = sorted(
            range(len(self.trials)), key=lambda n: (abs(self.scores[n] - self.mean), self.trials[n].trial_id)
        )
        return self.trials[order[0]]


def score_of(trial: Trial, rule: str) -> float | None:
    """What a rule looks at, the less the better; None where the trial has none, or misses a target.

    Args:
        trial: One.
        rule: `bound`, `elbo`, `active_units`, the name of a score, or a target as in `TARGET`.
    """
    # A trial that failed after a good epoch would fail again when it is trained to the end.
    if trial.rate is None or trial.distortion is None or trial.status == "failed":
        return None
    if target := TARGET.fullmatch(rule):
        held, wanted = (trial.rate, trial.distortion)[:: 1 if target[1] == "rate" else -1]
        return wanted if held <= float(target[2]) else None
    known = {
        "bound": trial.negative_bound,
        "elbo": trial.distortion + trial.rate,
        "active_units": trial.active_units,
        **trial.scores,
    }
    found = known.get(rule)
    return -found if found is not None and rule in MORE_IS_BETTER else found


def candidates(trials: Sequence[Trial], rule: str = "bound") -> list[Candidate]:
    """The settings that were tried, whatever their seed, the best one first.

    A setting of which one seed misses a target, or failed, is judged by the others.
    """
    groups: dict[str, list[tuple[Trial, float]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.trial_id):
        score = score_of(trial, rule)
        if score is not None and math.isfinite(score):
            setting = {name: value for name, value in trial.parameters.items() if name != SEED}
            groups.setdefault(json.dumps(setting, sort_keys=True), []).append((trial, score))
    found = [Candidate(*zip(*group, strict=True)) for group in groups.values()]
    return sorted(found, key=lambda candidate: (candidate.mean, candidate.typical.trial_id))


def select(trials: Sequence[Trial], rule: str = "bound") -> Trial:
    """The trial to go on with: the most typical one of the best setting.

    By default of the lowest bound at β = 1: scoring by the loss it was trained with would drive β to 0.

    Raises:
        ClusterError: If no trial has what the rule looks at; says what the failed ones said, or how near they came.
    """
    if found := candidates(trials, rule):
        return found[0].typical
    if reached := [trial for trial in trials if score_of(trial, "elbo") is not None]:
        missed = TARGET.fullmatch(rule)
        nearest = min(getattr(trial, missed[1]) for trial in reached) if missed else None
        why = f"the least {missed[1]} is {nearest:.3f} nats" if missed else f"none has the score {rule!r}"
        raise ClusterError(f"select: no trial fits {rule!r}: of {len(reached)} with a result {why}")
    reasons = sorted({trial.error or "no epoch was finished" for trial in trials})
    raise ClusterError(f"none of the {len(trials)} trials came to a result: {'; '.join(reasons)}")


def pareto(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other beats in both rate and distortion, by increasing rate."""
    front: list[Trial] = []
    lowest = float("inf")
    for trial in sorted(
        (t for t in trials if t.rate is not None and t.distortion is not None),
        key=lambda t: (t.rate, t.distortion),
    ):
        assert trial.distortion is not None
        if trial.distortion < lowest:
            lowest = trial.distortion
            front.append(trial)
    return front


def hypervolume(trials: Sequence[Trial], rate: float, distortion: float) -> float:
    """The area between the front and a reference point that is worse than all of it, in nats².

    Args:
        trials: Those that reach beyond the reference point add nothing.
        rate, distortion: The reference point.

    References:
        Zitzler & Thiele, Multiobjective Optimization Using Evolutionary Algorithms (1998).
    """
    area, ceiling = 0.0, distortion
    for trial in pareto(trials):
        assert trial.rate is not None, "it is on the front"
        assert trial.distortion is not None, "it is on the front"
        if trial.rate < rate and trial.distortion < ceiling:
            area += (rate - trial.rate) * (ceiling - trial.distortion)
            ceiling = trial.distortion
    return area
