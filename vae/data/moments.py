"""Means, standard deviations and extremes of columns, some rows at a time, in float64.

Shapes: N rows, D columns.

References:
    Chan, Golub & LeVeque, Algorithms for Computing the Sample Variance (1983): the update by blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-12
"""Largest ratio of a standard deviation to the mean that is taken for the rounding of a constant."""


class Moments:
    """Moments of the added rows; NaN counts as missing."""

    def __init__(self, num_columns: int) -> None:
        self.count = np.zeros(num_columns)
        """Number of observed entries, [D]."""
        self.mean = np.zeros(num_columns)
        """Mean of the observed entries, [D]; 0 where there are none."""
        self.smallest = np.full(num_columns, np.inf)
        """Smallest observed entry, [D]; ∞ where there are none."""
        self.largest = np.full(num_columns, -np.inf)
        """Largest observed entry, [D]; -∞ where there are none."""
        self._squares = np.zeros(num_columns)

    def add(self, values_ND: NDArray[Any]) -> None:
        """Adds some rows."""
        there_ND = ~np.isnan(values_ND)
        self.smallest = np.fmin(self.smallest, np.fmin.reduce(values_ND, 0, initial=np.inf))
        self.largest = np.fmax(self.largest, np.fmax.reduce(values_ND, 0, initial=-np.inf))
        values_ND = np.where(there_ND, values_ND, 0).astype(np.float64)
        count_D = there_ND.sum(0)
        total_D = np.maximum(self.count + count_D, 1)
        mean_D = values_ND.sum(0) / np.maximum(count_D, 1)
        gap_D = mean_D - self.mean
        self._squares += np.where(there_ND, (values_ND - mean_D) ** 2, 0).sum(0)
        self._squares += gap_D**2 * self.count * count_D / total_D
        self.mean += gap_D * count_D / total_D
        self.count += count_D

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation with the count as divisor, [D]; 1 for constants and columns without any entry."""
        std_D = np.sqrt(self._squares / np.maximum(self.count, 1))
        return np.where(std_D > ROUNDING * np.abs(self.mean), std_D, 1.0)
