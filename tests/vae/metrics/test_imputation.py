"""Imputation metrics: by hand, on hidden entries alone, and calibrated where the imputations are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from vae.errors import DataError
from vae.metrics.imputation import IntervalCoverage, imputation_accuracy, imputation_rmse, interval_coverage

Array = NDArray[np.float64]

TRUTH = np.array([[1.0, 10.0, 5.0], [2.0, 20.0, 6.0], [3.0, 30.0, 7.0]])
MISSING = np.array([[True, True, False], [True, False, False], [True, False, False]])


def spoil(values: Array, missing: NDArray[np.bool_]) -> Array:
    """What was not hidden becomes NaN, or infinite in the first column."""
    spoilt = np.where(missing, values, np.nan)
    spoilt[..., 0] = np.where(missing[:, 0], values[..., 0], np.inf)
    return spoilt


def test_mse_by_hand() -> None:
    """Errors 1, 1, 4 in one column and 10 in the other: 118/4 over entries, 6 and 100 over columns, none in the third."""
    imputed = TRUTH + np.array([[1.0, 10.0, 9.0], [-1.0, 9.0, 9.0], [4.0, 9.0, 9.0]])
    found = imputation_rmse(TRUTH, imputed, MISSING)
    assert found.mse == pytest.approx(118 / 4)
    assert found.mse_per_column == (pytest.approx(6), pytest.approx(100), None)
    assert found.rmse_per_column == (pytest.approx(math.sqrt(6)), pytest.approx(10), None)
    assert found.rmse == pytest.approx((math.sqrt(6) + 10) / 2)
    assert found.num_hidden == 4


def test_mse_is_in_units_of_the_standard_deviation() -> None:
    """Dividing by σ equals standardising first, so that a change of a column's unit changes nothing."""
    imputed, std, unit = TRUTH + 1, np.array([2.0, 4.0, 8.0]), np.array([1000.0, 0.01, 1.0])
    found = imputation_rmse(TRUTH, imputed, MISSING, std)
    assert found.mse == pytest.approx((3 / 4 + 1 / 16) / 4)
    assert imputation_rmse(TRUTH * unit, imputed * unit, MISSING, std * unit).mse == pytest.approx(found.mse)
    assert imputation_rmse(TRUTH / std, imputed / std, MISSING).mse == pytest.approx(found.mse)


def test_mse_of_the_mean_is_one() -> None:
    """A standard normal column taken for its mean has error 1, and for a draw of itself 2, within 4 standard errors."""
    generator = np.random.default_rng(0)
    truth, draws = generator.standard_normal((2, 4000, 2))
    missing = generator.random(truth.shape) < 0.5
    error = 4 * math.sqrt(2 / missing.sum())
    assert imputation_rmse(truth, np.zeros_like(truth), missing).mse == pytest.approx(1, abs=error)
    assert imputation_rmse(truth, draws, missing).mse == pytest.approx(2, abs=2 * error)


def test_accuracy_by_hand() -> None:
    """Two of three right in one column, none of one in the other: a half over entries."""
    codes = np.array([[0, 3, 1], [1, 0, 1], [2, 0, 1]])
    imputed = np.array([[0, 2, 9], [1, 9, 9], [9, 9, 9]])
    found = imputation_accuracy(codes, imputed, MISSING)
    assert (found.accuracy, found.num_hidden) == (0.5, 4)
    assert found.accuracy_per_column == (pytest.approx(2 / 3), 0, None)


def test_metrics_ignore_what_was_not_hidden() -> None:
    """NaN and infinity outside of the hidden entries change no score, and warn of nothing."""
    generator = np.random.default_rng(1)
    draws = TRUTH + generator.standard_normal((19, 3, 3))
    truth, imputed, many = (spoil(values, MISSING) for values in (TRUTH, draws[0], draws))
    assert imputation_rmse(truth, imputed, MISSING) == imputation_rmse(TRUTH, draws[0], MISSING)
    assert imputation_accuracy(truth, imputed, MISSING) == imputation_accuracy(TRUTH, draws[0], MISSING)
    assert interval_coverage(truth, many, MISSING) == interval_coverage(TRUTH, draws, MISSING)


def coverage_of(scale: float, num_imputations: int, level: float = 0.9) -> IntervalCoverage:
    """Of a normal truth whose mean the model knows and whose standard deviation it takes for `scale` times what it is."""
    generator = np.random.default_rng(2)
    mean, std = generator.standard_normal((1500, 2)), np.array([0.1, 10.0])
    truth = mean + std * generator.standard_normal((1500, 2))
    imputations = mean + scale * std * generator.standard_normal((num_imputations, 1500, 2))
    return interval_coverage(truth, imputations, generator.random((1500, 2)) < 0.7, level=level)


@pytest.mark.parametrize(("num_imputations", "level"), [(19, 0.9), (50, 0.9), (99, 0.9), (3, 0.5), (39, 0.8)])
def test_coverage_of_calibrated_imputations_is_their_level(num_imputations: int, level: float) -> None:
    """Draws from the truth's own distribution cover it at the level, within 3 standard errors, however few they are."""
    found = coverage_of(1, num_imputations, level)
    assert found.coverage == pytest.approx(level, abs=3 * found.standard_error)
    for share, error in zip(found.coverage_per_column, found.standard_error_per_column, strict=True):
        assert share is not None
        assert error is not None
        assert share == pytest.approx(level, abs=3 * error)
    assert (found.level, found.num_imputations) == (level, num_imputations)


def test_coverage_tells_too_narrow_and_too_wide() -> None:
    """Imputations with half the spread cover what the normal law says, 0.59; with twice the spread nearly all."""
    narrow, wide = coverage_of(0.5, 199), coverage_of(2, 199)
    assert narrow.coverage == pytest.approx(math.erf(1.6449 / 2 / math.sqrt(2)), abs=4 * narrow.standard_error)
    assert wide.coverage > 0.9 + 10 * wide.standard_error


def test_coverage_error_counts_rows_and_not_entries() -> None:
    """Ten equal columns know no more than one; ten independent ones do."""
    generator = np.random.default_rng(3)
    truth, draws = generator.standard_normal((1000, 1)), generator.standard_normal((19, 1000, 1))
    one = interval_coverage(truth, draws, np.ones((1000, 1), bool))
    ten = interval_coverage(truth.repeat(10, 1), draws.repeat(10, 2), np.ones((1000, 10), bool))
    apart = interval_coverage(
        generator.standard_normal((1000, 10)), generator.standard_normal((19, 1000, 10)), np.ones((1000, 10), bool)
    )
    assert ten.standard_error == pytest.approx(one.standard_error)
    assert one.standard_error == pytest.approx(math.sqrt(one.coverage * (1 - one.coverage) / 1000))
    assert apart.standard_error == pytest.approx(one.standard_error / math.sqrt(10), rel=0.15)


def test_coverage_per_column_by_hand() -> None:
    """Draws 1 … 19 cover 1 and 19 and neither 0.5 nor 20, at level 0.9; a column with nothing hidden has no coverage."""
    draws = np.arange(1.0, 20)[:, None, None] * np.ones((3, 3))
    truth = np.array([[1.0, 20.0, 0.0], [19.0, 10.0, 0.0], [0.5, 0.0, 0.0]])
    missing = np.array([[True, True, False], [True, True, False], [True, False, False]])
    found = interval_coverage(truth, draws, missing)
    assert found.coverage_per_column == (pytest.approx(2 / 3), pytest.approx(1 / 2), None)
    assert found.standard_error_per_column == (pytest.approx(math.sqrt(2 / 27)), pytest.approx(math.sqrt(1 / 8)), None)
    # Residuals from 3/5 summed over rows: −1/5, 4/5, −3/5.
    assert found.coverage == pytest.approx(3 / 5)
    assert found.standard_error == pytest.approx(math.sqrt(1 + 16 + 9) / 25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: imputation_rmse(TRUTH, TRUTH[:2], MISSING), r"got \[3, 3\], \[3, 3\] and \[2, 3\]"),
        (lambda: imputation_rmse(TRUTH, np.stack([TRUTH] * 2), MISSING), r"imputed values \[N,D\], got"),
        (lambda: interval_coverage(TRUTH, TRUTH, MISSING), r"imputed values \[M,N,D\], got"),
        (lambda: imputation_rmse(TRUTH, TRUTH, MISSING.astype(float)), "boolean.*got float64"),
        (lambda: imputation_accuracy(TRUTH, TRUTH, ~MISSING & MISSING), "none of 9 entries was hidden"),
        (lambda: imputation_rmse(TRUTH * np.nan, TRUTH, MISSING), "4 of 4 hidden true values are not finite"),
        (lambda: imputation_accuracy(TRUTH, TRUTH * np.nan, MISSING), "4 of 4 hidden imputed values are not finite"),
        (lambda: imputation_rmse(TRUTH, TRUTH, MISSING, [1.0, 0.0, 1.0]), "above 0 for each of 3 columns"),
        (lambda: imputation_rmse(TRUTH, TRUTH, MISSING, 1.0), "for each of 3 columns, got 1.0"),
        (lambda: interval_coverage(TRUTH, np.stack([TRUTH] * 18), MISSING), "expected 19 imputations or more.*got 18"),
        (lambda: interval_coverage(TRUTH, np.stack([TRUTH] * 18), MISSING, level=90), "between 0 and 1, got 90"),
    ],
)
def test_metrics_refuse_what_they_cannot_score(call: Callable[[], object], message: str) -> None:
    """Shapes that differ, gaps in the truth or the imputation, and intervals too few draws are refused with what to do."""
    with pytest.raises(DataError, match=message):
        call()
