"""How well hidden entries of a table are filled in. Only entries that were hidden count; what lies elsewhere is never read.

`missing` is True where the truth is known and was kept from the model: not where the data itself has a gap.

Shapes: N rows, D columns, M imputations of the same entries, K entries that were hidden.
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
    """Mean over all hidden entries; 1 is what each column's mean would get."""
    mse_per_column: tuple[float | None, ...]
    """Mean over a column's hidden entries; None where none was hidden."""
    num_hidden: int

    @property
    def rmse_per_column(self) -> tuple[float | None, ...]:
        """√mse of each column."""
        return tuple(None if mse is None else math.sqrt(mse) for mse in self.mse_per_column)

    @property
    def rmse(self) -> float:
        """Mean of the columns' √mse: every column counts alike, however many of its entries were hidden."""
        return float(np.mean([rmse for rmse in self.rmse_per_column if rmse is not None]))


def imputation_rmse(
    truth_ND: Array, imputed_ND: Array, missing_ND: Mask, std_D: ArrayLike | None = None
) -> NumericImputation:
    """Error of one imputation of numeric columns.

    Protocol: that of MIWAE's tables, the mean squared error over hidden entries of standardised columns. The standard
    deviations are of the observed entries of the training split: those of the complete data would tell of what is hidden.

    Args:
        truth_ND: What was hidden.
        imputed_ND: What it was taken for; the mean of many imputations is best by this score.
        missing_ND: True where an entry was hidden.
        std_D: Standard deviation of each column in its own unit; None if columns are standardised already.

    Raises:
        DataError: If shapes differ, nothing was hidden, a hidden entry is not finite, or a standard deviation not above 0.

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
    """Share of imputed categories that are right."""

    accuracy: float
    """Over all hidden entries."""
    accuracy_per_column: tuple[float | None, ...]
    """None where none was hidden."""
    num_hidden: int


def imputation_accuracy(truth_ND: Array, imputed_ND: Array, missing_ND: Mask) -> CategoricalImputation:
    """Accuracy of one imputation of categorical columns.

    Protocol: a hidden entry is right if the imputed code is the true one. The most probable category is best by this score.

    Args:
        truth_ND: Codes that were hidden.
        imputed_ND: Codes they were taken for.
        missing_ND: True where an entry was hidden.

    Raises:
        DataError: If shapes differ, nothing was hidden, or a hidden entry is not finite.
    """
    hidden = _hidden("imputation_accuracy", truth_ND, imputed_ND, missing_ND, many=False)
    right_K = (hidden.truth == hidden.imputed[0]).astype(np.float64)
    return CategoricalImputation(float(right_K.mean()), hidden.means(right_K), len(right_K))


@dataclass(frozen=True)
class IntervalCoverage:
    """How often the truth lies in the central interval of multiple imputations; calibrated ones come near `level`."""

    level: float
    coverage: float
    """Over all hidden entries."""
    standard_error: float
    """Of `coverage`; entries of one row may err together, rows are independent."""
    coverage_per_column: tuple[float | None, ...]
    """None where none was hidden."""
    standard_error_per_column: tuple[float | None, ...]
    num_imputations: int
    num_hidden: int


def interval_coverage(
    truth_ND: Array, imputations_MND: Array, missing_ND: Mask, *, level: float = 0.9
) -> IntervalCoverage:
    """Calibration of multiple imputations of numeric columns.

    Protocol: of each hidden entry, whether it lies between the (1 ± level)/2 quantiles of its M imputations, ends included.
    The r-th smallest of M is the quantile r/(M+1), with straight lines between: a truth that is exchangeable with its
    imputations is then covered with probability `level` where (M+1)(1−level)/2 is whole, and nearly so elsewhere, however
    small M is. The standard error is √Σ_rows(Σ_entries(c−p))² / n, with c whether an entry is covered and p the share of n.

    Args:
        truth_ND: What was hidden.
        imputations_MND: Draws from the model's distribution of it, noise included: draws of a mean are too narrow.
        missing_ND: True where an entry was hidden.
        level: Probability that the interval claims.

    Raises:
        DataError: If shapes differ, nothing was hidden, a hidden entry is not finite, or M is below 2/(1−level) − 1, where
            even the widest interval is too narrow.
    """
    if not 0 < level < 1:
        raise DataError(f"interval_coverage: level must lie between 0 and 1, got {level}")
    hidden = _hidden("interval_coverage", truth_ND, imputations_MND, missing_ND, many=True)
    num_imputations, num_hidden = hidden.imputed.shape
    needed = math.ceil(2 / (1 - level) - 1 - 1e-9)  # 19 for 0.9, where rounding says 19.000000000000004
    if num_imputations < needed:
        raise DataError(
            f"interval_coverage: expected {needed} imputations or more for level {level}, got {num_imputations}; draw "
            "more, or ask for a lower level"
        )
    low_K, high_K = np.quantile(hidden.imputed, [(1 - level) / 2, (1 + level) / 2], axis=0, method="weibull")
    covered_K = ((low_K <= hidden.truth) & (hidden.truth <= high_K)).astype(np.float64)
    coverage, per_column = float(covered_K.mean()), hidden.means(covered_K)
    row_residual = np.bincount(hidden.row, covered_K - coverage)
    return IntervalCoverage(
        level=level,
        coverage=coverage,
        standard_error=float(np.sqrt(np.square(row_residual).sum())) / num_hidden,
        coverage_per_column=per_column,
        standard_error_per_column=tuple(
            None if p is None else math.sqrt(p * (1 - p) / n) for p, n in zip(per_column, hidden.counts(), strict=True)
        ),
        num_imputations=num_imputations,
        num_hidden=num_hidden,
    )


@dataclass(frozen=True)
class _Hidden:
    """The K entries that were hidden, out of the table; nothing else is ever computed with."""

    truth: Array
    """[K]"""
    imputed: Array
    """[M,K]"""
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    num_columns: int

    def counts(self) -> list[int]:
        """Hidden entries of each column."""
        return np.bincount(self.column, minlength=self.num_columns).tolist()

    def means(self, values_K: Array) -> tuple[float | None, ...]:
        """Mean over each column's hidden entries; None where there are none."""
        sums = np.bincount(self.column, values_K, self.num_columns).tolist()
        return tuple(total / count if count else None for total, count in zip(sums, self.counts(), strict=True))


def _hidden(metric: str, truth_ND: Array, imputed: Array, missing_ND: Mask, *, many: bool) -> _Hidden:
    """The hidden entries of a table [N,D], and of one imputation [N,D] or many [M,N,D]: known to fit and to be finite."""
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
        ("true values", truth_K, "leave entries without a known truth out of `missing`"),
        ("imputed values", imputed_MK, "impute every hidden entry"),
    ):
        broken = np.count_nonzero(~np.isfinite(entries))
        if broken:
            raise DataError(f"{metric}: {broken} of {entries.size} hidden {what} are not finite; {advice}")
    return _Hidden(truth_K, imputed_MK, row, column, truth.shape[1])
