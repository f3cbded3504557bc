"""The comparison of two models row by row, on as many rows as the decision needs.

Shapes: N rows.

References:
    Pocock, Group sequential methods in the design and analysis of clinical trials (1977): looks that all have one level.
    Schmeiser, Batch size effects in the analysis of simulation output (1982): standard errors of correlated rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.99
"""Probability with which the intervals of all looks together hold the mean."""
FIRST_ROWS = 128
"""Number of rows of the first look; each further look has twice as many."""
NUM_BATCHES = 16
"""Number of batches of consecutive rows whose means give the second standard error."""
LARGEST_SHARE = 0.1
"""Largest share that one row may have in the sum of squared deviations for the interval to be trusted."""


def looks(num_rows: int) -> list[int]:
    """Returns the numbers of rows at which a decision is tried; the last is all rows."""
    sizes, size = [], FIRST_ROWS
    while size < num_rows:
        sizes.append(size)
        size *= 2
    return [*sizes, num_rows]


@dataclass(frozen=True)
class Interval:
    """Mean of a figure over rows and its interval."""

    mean: float
    low: float
    high: float
    num_rows: int
    is_sure: bool
    """Whether the interval excludes 0 and no row has too large a share in it."""


def standard_error(values_N: NDArray[np.float64]) -> float:
    """Returns the standard error of a mean: of independent rows, or by batches of consecutive rows, the larger one.

    Rows are shuffled, but those of one group stand together: their batches tell what the rows alone do not.
    """
    rows = len(values_N)
    if rows < 2:
        return math.inf
    error = float(values_N.std(ddof=1)) / math.sqrt(rows)
    if rows >= 2 * NUM_BATCHES:
        means = np.array([batch.mean() for batch in np.array_split(values_N, NUM_BATCHES)])
        error = max(error, float(means.std(ddof=1)) / math.sqrt(NUM_BATCHES))
    return error


def interval(values_N: NDArray[np.float64], num_looks: int, confidence: float = CONFIDENCE) -> Interval:
    """Returns the normal interval of the mean of a figure, such as the paired difference of two models in nats.

    The intervals of `num_looks` looks hold the mean together with the probability `confidence`: each has the level
    (1 − confidence) / num_looks, which holds whatever the dependence between looks.

    Args:
        values_N: Figure of each row.
        num_looks: Number of looks in all.
        confidence: Probability with which all intervals hold the mean.
    """
    if not np.isfinite(values_N).all():
        return Interval(math.nan, -math.inf, math.inf, len(values_N), is_sure=False)
    mean = float(values_N.mean())
    half = NormalDist().inv_cdf(1 - (1 - confidence) / (2 * num_looks)) * standard_error(values_N)
    squares_N = np.square(values_N - mean)
    spread = bool(squares_N.max() <= LARGEST_SHARE * squares_N.sum())
    return Interval(mean, mean - half, mean + half, len(values_N), spread and abs(mean) > half)
