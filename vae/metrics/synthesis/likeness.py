"""Likeness of synthetic rows of a table to real rows. The only file that imports SDMetrics, which is an extra.

Numbers are in any unit, categories are codes, and NaN is a missing value.

Shapes: N and M rows, D columns.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from vae.data.schema import Column
from vae.errors import ConfigError
from vae.metrics.tables import Array, observed

MOST_PAIRS = 300
"""Largest number of pairs of columns that are compared; of more, so many are drawn."""


def check_installed() -> None:
    """Checks that SDMetrics is installed, before anything is computed for it.

    Raises:
        ConfigError: If its extra is not installed.
    """
    if importlib.util.find_spec("sdmetrics") is None:
        raise ConfigError(
            "the metrics of `synthesis` need SDMetrics, which is not installed here: pip install 'betaline[synthesis]'"
        )


def column_shapes(real_ND: Array, made_MD: Array, columns: Sequence[Column]) -> float:
    """Returns the agreement of the columns' distributions in two tables, from 0 to 1: the mean over the columns.

    Of numbers it is one minus the Kolmogorov-Smirnov distance, of categories one minus the total variation distance.
    Missing entries take no part.

    Args:
        real_ND: Real rows.
        made_MD: Synthetic rows.
        columns: The columns.

    References:
        The property "Column Shapes" of SDMetrics. https://docs.sdv.dev/sdmetrics
    """
    # Imported here because SDMetrics is an extra, and takes seconds.
    from sdmetrics.single_column import KSComplement, TVComplement

    scores = []
    for number, column in enumerate(columns):
        real, made = observed(real_ND[:, number]), observed(made_MD[:, number])
        if len(real) and len(made):
            metric = KSComplement if column.categories is None else TVComplement
            scores.append(metric.compute(pd.Series(real), pd.Series(made)))
    return float(np.mean(scores)) if scores else math.nan


def pair_trends(real_ND: Array, made_MD: Array, columns: Sequence[Column], rng: np.random.Generator) -> float:
    """Returns the agreement of how columns depend on each other, from 0 to 1: the mean over pairs of columns.

    Of two numbers it is one minus half the difference of Pearson's r, of other pairs one minus the total variation distance
    of the two tables of counts, with numbers in ten bins between the real extremes. Rows count where they have both values.
    A table of counts holds the pairs of values that occur, so that its size does not grow with the number of categories.

    Args:
        real_ND: Real rows.
        made_MD: Synthetic rows.
        columns: The columns.
        rng: Source of the choice of `MOST_PAIRS` pairs, where there are more.

    References:
        The property "Column Pair Trends" of SDMetrics. https://docs.sdv.dev/sdmetrics
    """
    pairs = list(combinations(range(len(columns)), 2))
    if len(pairs) > MOST_PAIRS:
        pairs = [pairs[number] for number in sorted(rng.choice(len(pairs), MOST_PAIRS, replace=False))]
    scores = [_pair_trend(real_ND[:, pair], made_MD[:, pair], [columns[number] for number in pair]) for pair in pairs]
    return float(np.nanmean(scores)) if not np.isnan(scores).all() else math.nan


def _pair_trend(real_N2: Array, made_M2: Array, columns: Sequence[Column]) -> float:
    from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity

    real_N2, made_M2 = (rows[~np.isnan(rows).any(1)] for rows in (real_N2, made_M2))
    if min(len(real_N2), len(made_M2)) < 2:
        return math.nan
    if all(column.categories is None for column in columns):
        if not np.ptp(real_N2, 0).all():
            return math.nan
        if not np.ptp(made_M2, 0).all():  # a correlation of 0, which SDMetrics leaves undefined
            return 1 - abs(float(np.corrcoef(real_N2[:, 0], real_N2[:, 1])[0, 1])) / 2
        return CorrelationSimilarity.compute(pd.DataFrame(real_N2), pd.DataFrame(made_M2))
    numbers = [number for number, column in enumerate(columns) if column.categories is None]
    return ContingencySimilarity.compute(pd.DataFrame(real_N2), pd.DataFrame(made_M2), continuous_column_names=numbers)


def category_coverage(real_ND: Array, made_MD: Array, columns: Sequence[Column]) -> float:
    """Returns the share of a column's real categories that appear among the synthetic rows, the mean over the columns.

    It grows with the number of synthetic rows: give as many of them as of real ones. NaN without categories.
    """
    covered = []
    for number, column in enumerate(columns):
        real = np.unique(observed(real_ND[:, number]))
        if column.categories is not None and len(real):
            covered.append(np.isin(real, observed(made_MD[:, number])).mean())
    return float(np.mean(covered)) if covered else math.nan
