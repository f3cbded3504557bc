"""Imputation by scikit-learn, to compare the models with.

Shapes: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.benchmarks.reproduce.incomplete import Values

MEAN, KNN, RIDGE, TREES = "mean, mode", "kNN", "iterative, ridge", "iterative, extra-trees"
NEIGHBOURS, TUNING_ROWS = (1, 3, 5, 10, 20, 30, 50, 100), 2000
"""Candidates for the kNN baseline, and the number of rows that tune it."""


def _iterative(regression: Any, seed: int) -> Any:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401  makes the next import work
    from sklearn.impute import IterativeImputer

    return IterativeImputer(regression, max_iter=10, random_state=seed)


def _mean(seen_ND: Values, seed: int, trees: int) -> Any:
    from sklearn.impute import SimpleImputer

    return SimpleImputer()


def _neighbours(seen_ND: Values, seed: int, trees: int) -> Any:
    """Returns kNN with the number of neighbours that imputes a hidden tenth of the observed entries best."""
    from sklearn.impute import KNNImputer

    generator = np.random.default_rng([seed, 1])
    some_ND = seen_ND if len(seen_ND) <= TUNING_ROWS else generator.permutation(seen_ND)[:TUNING_ROWS]
    held_ND = ~np.isnan(some_ND) & (generator.random(some_ND.shape) < 0.1)
    fewer_ND = np.where(held_ND, np.nan, some_ND)

    def error(neighbours: int) -> float:
        imputed_ND = KNNImputer(n_neighbors=neighbours).fit_transform(fewer_ND)
        return float(np.square(imputed_ND - some_ND)[held_ND].mean())

    return KNNImputer(n_neighbors=min(NEIGHBOURS, key=error))


def _ridge(seen_ND: Values, seed: int, trees: int) -> Any:
    from sklearn.linear_model import BayesianRidge

    return _iterative(BayesianRidge(), seed)


def _trees(seen_ND: Values, seed: int, trees: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(trees, max_features="sqrt", random_state=seed)  # pyright: ignore[reportArgumentType]
    return _iterative(forest, seed)


BASELINES: dict[str, Callable[[Values, int, int], Any]] = {
    MEAN: _mean,
    KNN: _neighbours,
    RIDGE: _ridge,
    TREES: _trees,
}


def widened(column_N: Values, num_categories: int) -> Values:
    """Returns a one-hot column for each category, or the numbers as they are; NaN where missing."""
    if not num_categories:
        return column_N[:, None]
    return np.where(np.isnan(column_N)[:, None], np.nan, column_N[:, None] == np.arange(num_categories))
