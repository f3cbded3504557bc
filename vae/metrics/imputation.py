"""Errors of imputed table entries; only entries that were hidden count, and no other entry is read.

`missing` is True for entries whose true value is known and was hidden from the model, and False for gaps of the data.

Shapes: N rows, D columns, M imputations of the same entries, K hidden entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae.errors import DataError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class NumericImputation:
    """Squared error of imputed numbers, in units of each column's standard deviation."""

    mse: float
    """Mean squared error over all hidden entries; 1 is the error of each column's mean."""
    mse_per_column: tuple[float | None, ...]
    """Mean squared error over the hidden entries of each column; None for a column without any."""
    num_hidden: int

    @property
    def rmse_per_column(self) -> tuple[float | None, ...]:
        """√mse of each column; None for a column without hidden entries."""
        return tuple(None if mse is None else math.sqrt(mse) for mse in self.mse_per_column)

    @property
    def rmse(self) -> float:
        """Mean of the columns' √mse, which weighs all columns alike, however many of their entries were hidden."""
        return float(np.mean([rmse for rmse in self.rmse_per_column if rmse is not None]))


def imputation_rmse(
    truth_ND: Array, imputed_ND: Array, missing_ND: Mask, std_D: ArrayLike | None = None
) -> NumericImputation:
    """Returns the error of one imputation of numeric columns.

    Protocol: that of MIWAE's tables, the mean squared error over hidden entries of standardised columns. The standard
    deviations come from the observed entries of the training split: those of the complete data would reveal the hidden
        entries.

    Args:
        truth_ND: True values.
        imputed_ND: Imputed values; the mean of many imputations is best by this score.
        missing_ND: True for hidden entries.
        std_D: Standard deviation of each column in its own unit; None for standardised columns.

    Raises:
        DataError: If shapes differ, no entry was hidden, a hidden entry is not finite, or a standard deviation is not
            above 0.

    References:
        Mattei & Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (2019), section 4.2.
        https://arxiv.org/abs/1812.02633
    """
    hidden = _hidden("imputation_rmse", truth_ND, imputed_ND, missing_ND, many=False)
    std = np.ones(hidden.num_columns) if std_D is None else np.asarray(std_D, np.float64)
    if std.shape != (hidden.num_columns,) or not (std > 0).all():
        raise DataError(
            f"imputation_rmse: expected a standard deviation above 0 for each of {hidden.num_columns} columns, got "
            f"{std.tolist()}; leave constant columns out"
        )
    square_K = np.square((hidden.imputed[0] - hidden.truth) / std[hidden.column])
    return NumericImputation(float(square_K.mean()), hidden.means(square_K), len(square_K))


@dataclass(frozen=True)
class CategoricalImputation:
    """Accuracy of imputed categories, in [0, 1]."""

    accuracy: float
    """Accuracy over all hidden entries."""
    accuracy_per_column: tuple[float | None, ...]
    """Accuracy over the hidden entries of each column; None for a column without any."""
    num_hidden: int


def imputation_accuracy(truth_ND: Array, imputed_ND: Array, missing_ND: Mask) -> CategoricalImputation:
    """Returns the accuracy of one imputation of categorical columns.

    Protocol: a hidden entry counts as correct if the imputed code is the true one. The most probable category is best
    by this
    score.

    Args:
        truth_ND: True codes.
        imputed_ND: Imputed codes.
        missing_ND: True for hidden entries.

    Raises:
        DataError: If shapes differ, no entry was hidden, or a hidden entry is not finite.
    """
    hidden = _hidden("imputation_accuracy", truth_ND, imputed_ND, missing_ND, many=False)
    right_K = (hidden.truth == hidden.imputed[0]).astype(np.float64)
    return CategoricalImputation(float(right_K.mean()), hidden.means(right_K), len(right_K))


@dataclass(frozen=True)
class IntervalCoverage:
    """Coverage of the true values by the central interval of multiple imputations."""

    level: float
    """Probability that the interval claims; calibrated imputations come near it."""
    coverage: float
    """Share of all hidden entries whose true value lies in the interval."""
    standard_error: float
    """Standard error of `coverage`, for independent rows whose entries may err together."""
    coverage_per_column: tuple[float | None, ...]
    """Coverage of each column; None for a column without hidden entries."""
    standard_error_per_column: tuple[float | None, ...]
    """Standard error of each column's coverage; None for a column without hidden entries."""
    num_imputations: int
    num_hidden: int


def interval_coverage(
    truth_ND: Array, imputations_MND: Array, missing_ND: Mask, *, level: float = 0.9
) -> IntervalCoverage:
    """Returns the calibration of multiple imputations of numeric columns.

    Protocol: a hidden entry is covered if it lies between the (1 ± level)/2 quantiles of its M imputations, ends
    included. The
    r-th smallest of M is the quantile r/(M+1), with linear interpolation. A true value that is exchangeable with its
    imputations is then covered with probability `level` if (M+1)(1−level)/2 is whole, and nearly so otherwise, however
    small M is. The standard error is √Σ_rows(Σ_entries(c−p))² / n: c is 1 for a covered entry, p the share of n that is
    covered.

    Args:
        truth_ND: True values.
        imputations_MND: Draws from the model's distribution of each entry, noise included: draws of a mean are too narrow.
        missing_ND: True for hidden entries.
        level: Probability that the interval claims.

    Raises:
        DataError: If shapes differ, no entry was hidden, a hidden entry is not finite, or M is below 2/(1−level) − 1, for
            which even the widest interval is too narrow.
    """
    if not 0 < level < 1:
        raise DataError(f"interval_coverage: level must lie between 0 and 1, got {level}")
    hidden = _hidden("interval_coverage", truth_ND, imputations_MND, missing_ND, many=True)
    num_imputations, num_hidden = hidden.imputed.shape
    _check_num_imputations(num_imputations, level)
    low_K, high_K = np.quantile(hidden.imputed, [(1 - level) / 2, (1 + level) / 2], axis=0, method="weibull")
    covered_K = ((low_K <= hidden.truth) & (hidden.truth <= high_K)).astype(np.float64)
    coverage, per_column = float(covered_K.mean()), hidden.means(covered_K)
    row_residual = np.bincount(hidden.row, covered_K - coverage)
    return IntervalCoverage(
        level=level,
        coverage=coverage,
        standard_error=float(np.sqrt(np.square(row_residual).sum())) / num_hidden,
        coverage_per_column=per_column,
        standard_error_per_column=hidden.standard_errors(per_column),
        num_imputations=num_imputations,
        num_hidden=num_hidden,
    )


def _check_num_imputations(num_imputations: int, level: float) -> None:
    needed = math.ceil(2 / (1 - level) - 1 - 1e-9)  # 19 for 0.9, where rounding gives 19.000000000000004
    if num_imputations < needed:
        raise DataError(
            f"interval_coverage: expected {needed} imputations or more for level {level}, got {num_imputations}; draw "
            "more, or ask for a lower level"
        )


@dataclass(frozen=True)
class _Hidden:
    """The K hidden entries of a table."""

    truth: Array
    """True values, [K]."""
    imputed: Array
    """Imputed values, [M,K]."""
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    num_columns: int

    def counts(self) -> list[int]:
        """Returns the number of hidden entries of each column."""
        return np.bincount(self.column, minlength=self.num_columns).tolist()

    def standard_errors(self, shares: tuple[float | None, ...]) -> tuple[float | None, ...]:
        """Returns the binomial standard error of the share of each column; None for a column without hidden entries."""
        pairs = zip(shares, self.counts(), strict=True)
        return tuple(None if p is None else math.sqrt(p * (1 - p) / n) for p, n in pairs)

    def means(self, values_K: Array) -> tuple[float | None, ...]:
        """Returns the mean over the hidden entries of each column; None for a column without any."""
        sums = np.bincount(self.column, values_K, self.num_columns).tolist()
        return tuple(total / count if count else None for total, count in zip(sums, self.counts(), strict=True))


def _hidden(metric: str, truth_ND: Array, imputed: Array, missing_ND: Mask, *, many: bool) -> _Hidden:
    """Returns the checked hidden entries of a table [N,D] and of one imputation [N,D], or of many [M,N,D]."""
    truth, values, missing = np.asarray(truth_ND), np.asarray(imputed), np.asarray(missing_ND)
    if truth.ndim != 2 or missing.shape != truth.shape or values.shape[int(many) :] != truth.shape:
        raise DataError(
            f"{metric}: expected truth and missing [N,D] and imputed values {'[M,N,D]' if many else '[N,D]'}, got "
            f"{list(truth.shape)}, {list(missing.shape)} and {list(values.shape)}"
        )
    if missing.dtype != np.bool_:
        raise DataError(
            f"{metric}: expected missing to be boolean, True where an entry was hidden, got {missing.dtype}"
        )
    if not missing.any():
        raise DataError(f"{metric}: none of {missing.size} entries was hidden, so there is nothing to score; hide some")
    row, column = np.nonzero(missing)
    truth_K = truth[missing].astype(np.float64)
    imputed_MK = values[..., missing].astype(np.float64).reshape(-1, len(row))
    for what, entries, advice in (
        ("true values", truth_K, "leave entries without a true value out of `missing`"),
        ("imputed values", imputed_MK, "impute every hidden entry"),
    ):
        broken = np.count_nonzero(~np.isfinite(entries))
        if broken:
            raise DataError(f"{metric}: {broken} of {entries.size} hidden {what} are not finite; {advice}")
    return _Hidden(truth_K, imputed_MK, row, column, truth.shape[1])
