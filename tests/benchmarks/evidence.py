"""Evidence of several seeds: paired differences, their 95 % intervals, and the verdicts that follow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy.stats import t

from tests.benchmarks.page import Claim
from tests.benchmarks.work import Outcome

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval by Student's t; a single seed bounds nothing."""

    mean: float
    low: float
    high: float

    def above(self, bound: float) -> bool | None:
        """Returns whether the mean lies above `bound`, and None where the interval holds values on both sides."""
        return True if self.low > bound else False if self.high <= bound else None

    def below(self, bound: float) -> bool | None:
        """Returns whether the mean lies below `bound`, and None where the interval holds values on both sides."""
        return True if self.high < bound else False if self.low >= bound else None

    def text(self, decimals: int, sign: str = "") -> str:
        """Returns `0.063 (0.013 to 0.113)`; `sign="+"` writes the signs of positive figures."""
        mean, low, high = (f"{value:{sign}.{decimals}f}" for value in (self.mean, self.low, self.high))
        return f"{mean} ({low} to {high})" if math.isfinite(self.low) else f"{mean} (one seed: no interval)"


def interval(values: Sequence[float]) -> Interval:
    """Returns the mean of one figure per seed, with its interval.

    References:
        Student, The Probable Error of a Mean (1908).
    """
    mean, count = statistics.fmean(values), len(values)
    if count == 1:
        return Interval(mean, -math.inf, math.inf)
    half = float(t.ppf((1 + LEVEL) / 2, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def interval_claim(
    text: str,
    values: Sequence[float],
    side: Literal["above", "below"],
    bound: str = "0",
    *,
    decimals: int,
    unit: str = "",
) -> Claim:
    """Returns the claim that the interval of one figure per seed lies above or below a bound, such as `1.0 nats`."""
    measured = interval(values)
    holds = getattr(measured, side)(float(bound.split()[0]))
    return Claim(text, f"95 % interval {side} {bound}", measured.text(decimals, "+") + unit, holds)


def by_seed(outcomes: Sequence[Outcome], row: str, figure: str, setting: str | None = None) -> dict[int, float]:
    """Returns a row's figure of each seed that has it; `setting=None` takes every setting."""
    own = [o for o in outcomes if o.row == row and setting in (None, o.setting)]
    return {o.seed: o.figures[figure] for o in own if figure in o.figures}


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """Returns the difference first − second of each seed that both have, in the order of the seeds."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def paired_claim(
    text: str, ours: Mapping[int, float], theirs: Mapping[int, float], side: Literal["above", "below"]
) -> Claim | None:
    """Returns the claim that our figures lie on one side of theirs, by the differences of equal seeds; None without any.

    A mean on the other side refutes it, whatever the interval.
    """
    if not (differences := paired(ours, theirs)):
        return None
    claim = interval_claim(text, differences, side, decimals=3)
    means = f"{statistics.fmean(ours.values()):.3f} against {statistics.fmean(theirs.values()):.3f}"
    mean = statistics.fmean(differences)
    is_worse = mean >= 0 if side == "below" else mean <= 0
    return replace(claim, found=f"{means}, difference {claim.found}", holds=False if is_worse else claim.holds)
