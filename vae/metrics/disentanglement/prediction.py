"""Scores from how well trees predict a factor from codes: SAP and DCI. Shapes as in the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae.metrics.disentanglement.codes import (
    NUM_TEST,
    NUM_TRAIN,
    entropy_nats,
    labelled_codes,
    split_rows,
    standardised,
)

DCI_TREES: dict[str, Any] = {"n_estimators": 20, "max_features": None, "min_samples_leaf": 0.005}
"""Options of the trees: every split may use any dimension. A leaf has a minimum share of the training rows, because smaller
leaves fit noise, which spreads importance over all dimensions."""


def sap(
    codes_NL: ArrayLike,
    factors_NF: ArrayLike,
    rng: np.random.Generator,
    num_train: int = NUM_TRAIN,
    num_test: int = NUM_TEST,
) -> float:
    """Returns separated attribute predictability: how much better one dimension predicts a factor than any other.

    Protocol: every factor is a class, predicted from one dimension by K − 1 thresholds: a decision tree of K leaves,
    grown best
    first with balanced classes, on 10,000 rows. Its score is the balanced accuracy on 5,000 other rows, rescaled so that
    chance is 0; a constant dimension gets 0. The result is the gap between the best and the second-best dimension, in
    [0, 1], averaged over factors. The paper uses R² for a factor that is a number, scores the rows that it fitted, and
    does not rescale, so that the gap of a perfect code would be 1 − 1/K. One factor is enough.

    Raises:
        DataError: If codes or factors cannot be scored; states what is wrong, and where.

    References:
        Kumar, Sattigeri & Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations (2018), section 3. https://arxiv.org/abs/1711.00848
    """
    codes, factors = labelled_codes(codes_NL, factors_NF, least_factors=1)
    codes = standardised(codes)  # trees read float32
    train_rows, test_rows = split_rows(len(codes), num_train, num_test, rng)
    train_rows, test_rows = train_rows[:num_train], test_rows[:num_test]
    gaps = []
    for values in factors.T:
        second, best = np.sort([_threshold_score(z, values, train_rows, test_rows) for z in codes.T])[-2:]
        gaps.append(best - second)
    return float(np.mean(gaps))


def _threshold_score(z_N: NDArray, values_N: NDArray, train_rows: NDArray, test_rows: NDArray) -> float:
    """Returns the balanced accuracy of thresholds on one dimension, from 0 for chance to 1."""
    from sklearn.tree import DecisionTreeClassifier

    num_values = int(values_N.max()) + 1
    tree = DecisionTreeClassifier(max_leaf_nodes=num_values, class_weight="balanced", random_state=0)
    tree.fit(z_N[train_rows, None], values_N[train_rows])
    truth = values_N[test_rows]
    is_correct = tree.predict(z_N[test_rows, None]) == truth
    hits, total = np.bincount(truth, is_correct, num_values), np.bincount(truth, minlength=num_values)
    balanced_accuracy = (hits[total > 0] / total[total > 0]).mean()
    return max(0.0, float((balanced_accuracy - 1 / num_values) / (1 - 1 / num_values)))


@dataclass(frozen=True)
class Dci:
    """Scores of Eastwood & Williams, in [0, 1]."""

    disentanglement: float
    """Disentanglement; 1 if each dimension matters for one factor alone."""
    completeness: float
    """Completeness; 1 if a single dimension suffices for each factor."""
    informativeness: float
    """Accuracy on held-out rows, mean over factors; chance is the share of each factor's commonest value."""


def dci(
    codes_NL: ArrayLike,
    factors_NF: ArrayLike,
    rng: np.random.Generator,
    num_train: int = NUM_TRAIN,
    num_test: int = NUM_TEST,
) -> Dci:
    """Returns disentanglement, completeness and informativeness, from the dimensions that trees need for each factor.

    Protocol: for each factor as a class, 20 extremely randomised trees that may split on any dimension, with at least 0.5 %
    of the rows in a leaf, are fitted to 10,000 rows and scored on 5,000 others. R[L,F] are their impurity importances. A
    dimension's disentanglement is 1 − H/log F of its row of R, weighted by the row's share of all R, so that an unused
    dimension does not count. A factor's completeness is 1 − H/log L of its column; mean over factors. Both are 0 if no
    tree splits. The paper uses lasso and random forests of tuned depth: compare only scores of one kind of trees.

    Raises:
        DataError: If codes or factors cannot be scored; states what is wrong, and where.

    References:
        Eastwood & Williams, A Framework for the Quantitative Evaluation of Disentangled Representations (2018), section 2.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    codes, factors = labelled_codes(codes_NL, factors_NF)
    codes = standardised(codes)
    train_rows, test_rows = split_rows(len(codes), num_train, num_test, rng)
    train_rows, test_rows = train_rows[:num_train], test_rows[:num_test]
    columns, accuracies = [], []
    for values in factors.T:
        forest = ExtraTreesClassifier(random_state=int(rng.integers(2**32)), **DCI_TREES)
        forest.fit(codes[train_rows], values[train_rows])
        columns.append(forest.feature_importances_)
        accuracies.append(forest.score(codes[test_rows], values[test_rows]))
    importance_LF = np.stack(columns, 1)
    weight_L = importance_LF.sum(1)
    return Dci(
        disentanglement=float(weight_L @ [_concentration(row) for row in importance_LF] / (weight_L.sum() or 1.0)),
        completeness=float(np.mean([_concentration(column) for column in columns])),
        informativeness=float(np.mean(accuracies)),
    )


def _concentration(importance: NDArray) -> float:
    """Returns 1 if one entry has all importance, 0 if all entries are equal or there is no importance."""
    return max(0.0, 1 - entropy_nats(importance) / float(np.log(len(importance)))) if importance.any() else 0.0
