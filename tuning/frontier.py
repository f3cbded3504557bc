"""The results of a search: its trials, the trade between rate and distortion, and the trial to go on with."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from tuning.rules import RULES, SEED, TARGET
from vae.errors import ClusterError


@dataclass(frozen=True)
class Trial:
    """One setting with one seed, at the epoch that ships; figures are of the validation split, in nats per example."""

    trial_id: str
    """Identity; for a lane of a stack the stack's identity, a dot, and the lane's number."""
    parameters: dict[str, Any]
    """Values that the search drew: dotted field to value, or to its label."""
    status: str
    """`finished`, `stopped` early by the scheduler, `running`, or `failed`."""
    epochs: int
    distortion: float | None = None
    rate: float | None = None
    negative_bound: float | None = None
    """Negative bound that the trial was trained for, at β = 1, whatever β it was trained with."""
    active_units: int | None = None
    error: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    """Measured figures of the best epoch's model, by the name of their rule; see `tuning.rules`."""
    steps: int = 0
    """Optimiser steps done."""
    steps_per_second: float | None = None
    """Speed in the last epoch, validation included; the lanes of a stack take their steps together."""


@dataclass(frozen=True)
class Candidate:
    """Trials that differ in their seed alone."""

    trials: tuple[Trial, ...]
    scores: tuple[float, ...]
    """Score of each trial; lower is better."""

    @property
    def mean(self) -> float:
        """Mean score, by which candidates are compared, so that a lucky seed does not win."""
        return fmean(self.scores)

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean score; None for a single trial."""
        return stdev(self.scores) / math.sqrt(len(self.scores)) if len(self.scores) > 1 else None

    @property
    def typical(self) -> Trial:
        """Trial nearest to the mean: its configuration, trained again, comes to what it was chosen for."""
        pairs = zip(self.trials, self.scores, strict=True)
        return min(pairs, key=lambda pair: (abs(pair[1] - self.mean), pair[0].trial_id))[0]


def score_of(trial: Trial, rule: str) -> float | None:
    """Returns a trial's score by a rule, lower is better; None if the trial has none, has failed, or misses a target.

    Args:
        trial: The trial.
        rule: A name in `tuning.rules.RULES`, or a target as in `TARGET`.
    """
    # A trial that failed after a good epoch would fail again when it is trained to the end.
    if trial.rate is None or trial.distortion is None or trial.status == "failed":
        return None
    if target := TARGET.fullmatch(rule):
        held, minimised = (trial.rate, trial.distortion)[:: 1 if target[1] == "rate" else -1]
        return minimised if held <= float(target[2]) else None
    figure = RULES[rule].figure(trial)
    return -figure if figure is not None and RULES[rule].better == "higher" else figure


def candidates(trials: Sequence[Trial], rule: str = "bound") -> list[Candidate]:
    """Returns the settings of a search with all their seeds, the best one first.

    A setting whose trial of one seed misses a target, or failed, is judged by its other seeds.
    """
    groups: dict[str, list[tuple[Trial, float]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.trial_id):
        score = score_of(trial, rule)
        if score is not None and math.isfinite(score):
            setting = {name: value for name, value in trial.parameters.items() if name != SEED}
            groups.setdefault(json.dumps(setting, sort_keys=True), []).append((trial, score))
    settings = [Candidate(*zip(*group, strict=True)) for group in groups.values()]
    return sorted(settings, key=lambda candidate: (candidate.mean, candidate.typical.trial_id))


def select(trials: Sequence[Trial], rule: str = "bound") -> Trial:
    """Returns the trial to go on with: the most typical one of the best setting.

    The default rule is the bound at β = 1: the loss that a trial was trained with would drive β to 0.

    Raises:
        ClusterError: If no trial has a score; lists the errors of the failed trials, or how near the others came.
    """
    if ranked := candidates(trials, rule):
        return ranked[0].typical
    if reached := [trial for trial in trials if score_of(trial, "elbo") is not None]:
        missed = TARGET.fullmatch(rule)
        nearest = min(getattr(trial, missed[1]) for trial in reached) if missed else None
        why = f"the least {missed[1]} is {nearest:.3f} nats" if missed else f"none has the score {rule!r}"
        raise ClusterError(f"select: no trial fits {rule!r}: of {len(reached)} with a result {why}")
    reasons = sorted({trial.error or "no epoch was finished" for trial in trials})
    raise ClusterError(f"none of the {len(trials)} trials came to a result: {'; '.join(reasons)}")


def pareto(trials: Sequence[Trial]) -> list[Trial]:
    """Returns the trials that no other beats in both rate and distortion, by increasing rate."""
    front: list[Trial] = []
    points = sorted(
        (t.rate, t.distortion, n) for n, t in enumerate(trials) if t.rate is not None and t.distortion is not None
    )
    lowest = math.inf
    for _, distortion, number in points:
        if distortion < lowest:
            lowest = distortion
            front.append(trials[number])
    return front


def hypervolume(trials: Sequence[Trial], rate: float, distortion: float) -> float:
    """Returns the area between the front and a reference point that is worse than all of it, in nats².

    Args:
        trials: Trials of one search; those beyond the reference point add nothing.
        rate: Rate of the reference point, in nats.
        distortion: Distortion of the reference point, in nats.

    References:
        Zitzler & Thiele, Multiobjective Optimization Using Evolutionary Algorithms (1998).
    """
    area, ceiling = 0.0, distortion
    for trial in pareto(trials):
        assert trial.rate is not None, "trials of the front have a rate"
        assert trial.distortion is not None, "trials of the front have a distortion"
        if trial.rate < rate and trial.distortion < ceiling:
            area += (rate - trial.rate) * (ceiling - trial.distortion)
            ceiling = trial.distortion
    return area
