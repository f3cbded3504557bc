"""The interval of a paired difference, and how often a decision that stops early is another one than that on all rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vae.metrics.paired import interval, looks, standard_error


def test_interval_is_the_normal_one_of_the_paired_difference() -> None:
    """With one look it is SciPy's; with more looks each has its share of the level."""
    rng = np.random.default_rng(0)
    a_N, b_N = rng.normal(3, 2, (2, 500))
    found, again = interval(a_N - b_N, 1, confidence=0.95), interval(a_N - b_N, 5, confidence=0.95)
    error = max(stats.sem(a_N - b_N), stats.sem([part.mean() for part in np.array_split(a_N - b_N, 16)]))
    assert found.mean == pytest.approx(np.mean(a_N) - np.mean(b_N))
    for one, level in ((found, 0.95), (again, 0.99)):
        assert (one.low, one.high) == pytest.approx(stats.norm.interval(level, found.mean, error))


def test_standard_error_sees_rows_that_belong_together() -> None:
    """Sixteen groups of equal rows tell as much as sixteen rows."""
    means = np.random.default_rng(0).normal(0, 1, 16)
    assert standard_error(np.repeat(means, 100)) == pytest.approx(stats.sem(means))


@pytest.mark.parametrize(
    "values",
    [np.r_[np.zeros(299), 1e6], np.r_[np.ones(299), np.nan], np.r_[np.ones(299), np.inf], np.zeros(300)],
    ids=["one row decides", "not a number", "infinite", "the same model"],
)
def test_interval_is_not_trusted(values: np.ndarray) -> None:
    """Neither where one row holds most of the variance, nor without a difference."""
    assert not interval(values, 1).is_sure


def test_looks_double_up_to_all_rows() -> None:
    """A split below the first look has one look."""
    assert looks(3000) == [128, 256, 512, 1024, 2048, 3000]
    assert looks(2048) == [128, 256, 512, 1024, 2048]
    assert looks(20) == [20]


@pytest.mark.parametrize(("kind", "most_rows"), [("normal", 512), ("heavy tails", 2048)])
def test_early_decisions_err_as_seldom_as_stated(kind: str, most_rows: int) -> None:
    """Of pairs without a true difference 1 % at most are decided early by chance; clear pairs take few rows."""
    rng, total, wrong, rows = np.random.default_rng(0), 8192, 0, 0
    for number in range(1000):
        drawn_N = rng.normal(size=total) if kind == "normal" else rng.standard_t(3, total) / math.sqrt(3)
        values_N = drawn_N + (0.5 if number % 2 else 0.0)
        sizes = looks(total)
        stopped = next(size for size in sizes if size == total or interval(values_N[:size], len(sizes)).is_sure)
        wrong += number % 2 == 0 and stopped < total
        rows += stopped if number % 2 else 0
    assert wrong <= 500 * 0.02  # 1 % of 500 is 5; ten or more are by chance in 3 % of such counts
    assert rows / 500 < most_rows
