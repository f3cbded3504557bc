"""Similarity of two tables, such as rows and draws of a model, by columns and by pairs of columns.

Numbers are in any unit, categories are codes, and NaN is a missing value.

Shapes: N and M rows, D columns, K categories.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def column_distance(one_N: Array, other_M: Array, num_categories: int | None) -> float:
    """Returns the distance of two samples of a column, from 0 to 1; NaN if a sample is empty.

    For numbers it is the largest difference of the cumulative distributions (Kolmogorov–Smirnov), for categories half
    the sum of the differences of the shares (total variation).

    Args:
        one_N: One sample.
        other_M: The other sample.
        num_categories: K; None for numbers.
    """
    one, other = observed(one_N), observed(other_M)
    if not len(one) or not len(other):
        return math.nan
    if num_categories is not None:
        return float(np.abs(shares(one, num_categories) - shares(other, num_categories)).sum() / 2)
    grid = np.concatenate([one, other])
    below, beside = (np.searchsorted(np.sort(part), grid, side="right") / len(part) for part in (one, other))
    return float(np.abs(below - beside).max())


def observed(values_N: Array) -> Array:
    """Returns the values that are not missing."""
    return values_N[~np.isnan(values_N)]


def shares(codes_N: Array, num_categories: int) -> Array:
    """Returns the share of each category, [K]."""
    return np.bincount(codes_N.astype(int), minlength=num_categories) / max(1, len(codes_N))


def associations(values_ND: Array, num_categories: Sequence[int | None]) -> Array:
    """Returns the association of each pair of columns over the rows that have both values, [D,D].

    It is Pearson's r for two numbers, in [−1, 1], the correlation ratio η for a number and a category, and Cramér's V
    for two categories, both in [0, 1]. NaN for a column that does not vary.

    Args:
        values_ND: The table.
        num_categories: K of each column; None for numbers.
    """
    association_DD = np.eye(len(num_categories))
    for i, one_K in enumerate(num_categories):
        for j, other_K in enumerate(num_categories[:i]):
            both_N = ~np.isnan(values_ND[:, [i, j]]).any(1)
            one, other = values_ND[both_N, i], values_ND[both_N, j]
            if one_K is None and other_K is None:
                association = _pearson(one, other)
            elif one_K is None:
                association = _correlation_ratio(one, other.astype(int))
            elif other_K is None:
                association = _correlation_ratio(other, one.astype(int))
            else:
                association = _cramers_v(one.astype(int), other.astype(int))
            association_DD[i, j] = association_DD[j, i] = association
    return association_DD


def _pearson(one_N: Array, other_N: Array) -> float:
    if len(one_N) < 2 or not np.ptp(one_N) or not np.ptp(other_N):
        return math.nan
    return float(np.corrcoef(one_N, other_N)[0, 1])


def _correlation_ratio(numbers_N: Array, codes_N: NDArray[np.int64]) -> float:
    """Returns √ of the share of a number's variance that lies between the categories."""
    if len(numbers_N) < 2 or not np.ptp(numbers_N) or not np.ptp(codes_N):
        return math.nan
    count_K = np.bincount(codes_N)
    mean_K = np.bincount(codes_N, numbers_N) / count_K.clip(1)
    between = (count_K * (mean_K - numbers_N.mean()) ** 2).sum() / len(numbers_N)
    return math.sqrt(between / numbers_N.var())


def _cramers_v(one_N: NDArray[np.int64], other_N: NDArray[np.int64]) -> float:
    """Returns √(χ² of the table of counts / its largest possible value)."""
    if not len(one_N) or not np.ptp(one_N) or not np.ptp(other_N):
        return math.nan
    (_, one_N), (_, other_N) = (np.unique(codes_N, return_inverse=True) for codes_N in (one_N, other_N))
    count_K, count_L = np.bincount(one_N), np.bincount(other_N)
    # Σ (n − e)²/e = Σ n²/e − N, where only cells that occur have a term: as many as rows, not as pairs of categories.
    cells_C, count_C = np.unique(one_N * len(count_L) + other_N, return_counts=True)
    expected_C = count_K[cells_C // len(count_L)] * count_L[cells_C % len(count_L)] / len(one_N)
    excess = (count_C**2 / expected_C).sum() / len(one_N) - 1
    return math.sqrt(max(excess, 0.0) / (min(len(count_K), len(count_L)) - 1))
