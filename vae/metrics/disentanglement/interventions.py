"""Scores from rows that share one factor: those of β-VAE and FactorVAE. Shapes as in the package.

The papers let a simulator make new examples with one factor held fixed. Here the rows of a dataset are grouped by their
value of the factor, so any dataset with factors will do. Evaluation rows are never training rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae.errors import DataError
from vae.metrics.disentanglement.codes import NUM_TEST, NUM_TRAIN, labelled_codes, split_rows, standardised

COLLAPSED_VARIANCE = 0.05
"""Variance below which a dimension has collapsed to the prior, whose own variance is 1."""


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of a classifier, in [0, 1]."""

    train: float
    """Accuracy on the draws that the classifier was fitted to."""
    evaluation: float
    """Accuracy on draws from other rows, which is the score."""


def beta_vae_score(
    codes_NL: ArrayLike,
    factors_NF: ArrayLike,
    rng: np.random.Generator,
    num_train: int = NUM_TRAIN,
    num_test: int = NUM_TEST,
    num_pairs: int = 64,
) -> Accuracy:
    """Returns how well a linear classifier recognises the factor that pairs of rows share, from their codes' distances.

    Protocol: a draw takes a factor, all equally likely, and `num_pairs` pairs of different rows with the same value of
    it: one
    row by its frequency, the other uniformly from the rows of that value. Its features are the means of
    |z − z'| over the pairs, with each dimension in units of its standard deviation. Logistic regression (C = 1) is
    fitted to 10,000 draws and scored on 5,000. Chance is 1/F.

    Raises:
        DataError: If codes or factors cannot be scored; says what and where.

    References:
        Higgins et al., β-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework (2017), section 3.
    """
    from sklearn.linear_model import LogisticRegression

    codes, factors = labelled_codes(codes_NL, factors_NF)
    codes = standardised(codes)

    def draws(rows: NDArray, num_draws: int) -> tuple[NDArray, NDArray]:
        answers = np.sort(rng.integers(factors.shape[1], size=num_draws))
        features = []
        for factor, times in enumerate(np.bincount(answers, minlength=factors.shape[1])):
            first_SP, second_SP = Groups.of(factors, factor, rows).pairs((times, num_pairs), rng)
            features.append(np.stack([np.abs(z[first_SP] - z[second_SP]).mean(1) for z in codes.T], 1))
        return np.concatenate(features), answers

    train_rows, test_rows = split_rows(len(codes), num_train, num_test, rng)
    train, test = draws(train_rows, num_train), draws(test_rows, num_test)
    classifier = LogisticRegression(max_iter=1000).fit(*train)
    return Accuracy(train=float(classifier.score(*train)), evaluation=float(classifier.score(*test)))


def factor_vae_score(
    codes_NL: ArrayLike,
    factors_NF: ArrayLike,
    rng: np.random.Generator,
    num_train: int = NUM_TRAIN,
    num_test: int = NUM_TEST,
    batch_size: int = 64,
) -> Accuracy:
    """Returns how well the dimension that varies least reveals the factor that a batch shares, by majority vote.

    Protocol: dimensions whose variance over all rows is below 0.05 are pruned; the prior's is 1, so codes keep their
    own unit. A
    draw takes a factor, all equally likely, the value of a random row, and a batch of `batch_size` rows of that value, with
    replacement; it votes for the dimension with the least variance, relative to that over all rows. Each dimension
    stands for the factor that was fixed in most of its 10,000 votes; the score is the share of 5,000 other votes that
    agree. Chance is about 1/F; both accuracies are 0 if all dimensions are pruned.

    Raises:
        DataError: If codes or factors cannot be scored; says what and where.

    References:
        Kim & Mnih, Disentangling by Factorising (2018), section 4. https://arxiv.org/abs/1802.05983
        Locatello et al. (2019), appendix C: the threshold, the size of a batch and the number of votes.
    """
    codes, factors = labelled_codes(codes_NL, factors_NF)
    active_L = codes.var(0, ddof=1) >= COLLAPSED_VARIANCE
    if not active_L.any():
        return Accuracy(train=0.0, evaluation=0.0)
    codes = standardised(codes[:, active_L])

    train_rows, test_rows = split_rows(len(codes), num_train, num_test, rng)
    train_FL = _votes(codes, factors, train_rows, (num_train, batch_size), rng)
    test_FL = _votes(codes, factors, test_rows, (num_test, batch_size), rng)
    stands_for_L, every_L = train_FL.argmax(0), np.arange(codes.shape[1])
    train, test = (float(counts[stands_for_L, every_L].sum() / counts.sum()) for counts in (train_FL, test_FL))
    return Accuracy(train=train, evaluation=test)


def _votes(
    codes_NL: NDArray, factors_NF: NDArray, rows: NDArray, shape: tuple[int, int], rng: np.random.Generator
) -> NDArray:
    """Returns the votes of each factor for each dimension, [F,L], by batches [S,P] of some rows."""
    num_factors, num_latents = factors_NF.shape[1], codes_NL.shape[1]
    counts_FL = np.zeros((num_factors, num_latents))
    answers = rng.integers(num_factors, size=shape[0])
    for factor, times in enumerate(np.bincount(answers, minlength=num_factors)):
        batches_SP = Groups.of(factors_NF, factor, rows).batches((times, shape[1]), rng)
        least_S = np.stack([z[batches_SP].var(1) for z in codes_NL.T]).argmin(0)
        counts_FL[factor] = np.bincount(least_S, minlength=num_latents)
    return counts_FL


@dataclass(frozen=True)
class Groups:
    """Rows in the order of their values of one factor, without values that occur once."""

    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    """Position at which the group of each row begins."""
    size: NDArray[np.int64]
    """Number of rows in the group of each row."""

    @classmethod
    def of(cls, factors_NF: NDArray, factor: int, rows: NDArray) -> Groups:
        """Groups rows by their values of a factor.

        Raises:
            DataError: If no value occurs twice.
        """
        values = factors_NF[rows, factor]
        size = np.bincount(values)[values]
        order = np.argsort(values, kind="stable")
        order = order[size[order] > 1]
        if not len(order):
            raise DataError(
                f"factors: column {factor}: no value occurs twice in {len(rows)} rows, and the score needs rows that "
                "share one; pass more rows, or cut the factor into bins"
            )
        return cls(rows[order], np.searchsorted(values[order], values[order]), size[order])

    def pairs(self, shape: tuple[int, int], rng: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Draws pairs of different rows with the same value, [S,P] each."""
        first = rng.integers(len(self.rows), size=shape)
        start, size = self.start[first], self.size[first]
        second = start + (first - start + rng.integers(1, size)) % size
        return self.rows[first], self.rows[second]

    def batches(self, shape: tuple[int, int], rng: np.random.Generator) -> NDArray:
        """Draws batches of rows with one value each, with replacement, [S,P]."""
        one = rng.integers(len(self.rows), size=(shape[0], 1))
        return self.rows[self.start[one] + rng.integers(self.size[one], size=shape)]
