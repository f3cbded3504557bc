"""Imputation by scikit-learn, to compare the models with.

Shapes: N rows, D columns, W columns where a category has one for each code, M imputations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.benchmarks.reproduce.incomplete import Values

MEAN, KNN, RIDGE, TREES = "mean, mode", "kNN", "iterative, ridge", "iterative, extra-trees"
NEIGHBOURS, TUNING_ROWS = (1, 3, 5, 10, 20, 30, 50, 100), 2000
"""Candidates for the kNN baseline, and the number of rows that tune it."""


def _iterative(regression: Any, seed: int, **options: Any) -> Any:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401  makes the next import work
    from sklearn.impute import IterativeImputer

    return IterativeImputer(regression, **{"max_iter": 10, "random_state": seed, **options})


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


def completed(
    row: str, seen_ND: Values, num_categories: Sequence[int], seed: int, trees: int, num_rows: int | None = None
) -> Values:
    """Returns the first rows with their NaN imputed from standardised columns; a category has a column for each code."""
    wide_NW, mean_W, std_W = _widened(seen_ND, num_categories)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warning that ten rounds were not enough
        wide_NW = BASELINES[row](wide_NW, seed, trees).fit(wide_NW).transform(wide_NW[:num_rows])
    return _narrowed(wide_NW * std_W + mean_W, num_categories)


def ridge_draws(seen_ND: Values, num_categories: Sequence[int], seed: int, count: int, num_rows: int) -> Values:
    """Returns imputations [M,N,D] of the first rows by Bayesian ridge regressions that draw from their posterior."""
    from sklearn.linear_model import BayesianRidge

    wide_NW, mean_W, std_W = _widened(seen_ND, num_categories)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputer = _iterative(BayesianRidge(), seed, sample_posterior=True, max_iter=5).fit(wide_NW)
        drawn = [imputer.transform(wide_NW[:num_rows]) for _ in range(count)]
    return np.stack([_narrowed(wide * std_W + mean_W, num_categories) for wide in drawn])


def forest_completed(seen_ND: Values, num_categories: Sequence[int], seed: int, trees: int, rounds: int) -> Values:
    """Returns a table with its NaN imputed as missForest does: round after round, each column by a forest of the others.

    The trees are extremely randomised, with missForest's smallest leaves: 5 rows for numbers, 1 for categories. They read
    categories as codes.

    References:
        Stekhoven & Bühlmann, MissForest (2012). https://doi.org/10.1093/bioinformatics/btr597
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    is_missing_ND = np.isnan(seen_ND)
    filled_ND = np.where(is_missing_ND, completed(MEAN, seen_ND, num_categories, seed, trees), seen_ND)
    order = np.argsort(is_missing_ND.sum(0), kind="stable")
    for _ in range(rounds):
        for d in order[is_missing_ND.any(0)[order]]:
            missing_N, others_ND = is_missing_ND[:, d], np.delete(filled_ND, d, axis=1)
            kind, leaf = (ExtraTreesClassifier, 1) if num_categories[d] else (ExtraTreesRegressor, 5)
            forest = kind(trees, min_samples_leaf=leaf, max_features="sqrt", random_state=seed)  # pyright: ignore[reportArgumentType]
            forest.fit(others_ND[~missing_N], seen_ND[~missing_N, d])
            filled_ND[missing_N, d] = forest.predict(others_ND[missing_N])
    return filled_ND


def _widened(seen_ND: Values, num_categories: Sequence[int]) -> tuple[Values, Values, Values]:
    """Returns standardised columns [N,W], NaN where missing, with their means and standard deviations [W]."""
    parts = [
        np.where(np.isnan(column_N)[:, None], np.nan, column_N[:, None] == np.arange(count))
        if count
        else column_N[:, None]
        for column_N, count in zip(seen_ND.T, num_categories, strict=True)
    ]
    wide_NW = np.column_stack(parts)
    mean_W, std_W = np.nanmean(wide_NW, 0), np.nanstd(wide_NW, 0)
    std_W[std_W == 0] = 1.0  # a rare category may be hidden wherever it occurs
    return (wide_NW - mean_W) / std_W, mean_W, std_W


def _narrowed(wide_NW: Values, num_categories: Sequence[int]) -> Values:
    """Returns the columns as a table has them [N,D], the most probable category's code in a category's place."""
    ends = np.cumsum([max(1, count) for count in num_categories])[:-1]
    parts = np.split(wide_NW, ends, axis=1)
    return np.column_stack([part[:, 0] if part.shape[1] == 1 else part.argmax(1) for part in parts])
