"""Two tables column by column and pair by pair, against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vae.metrics.tables import associations, column_distance


def test_distance_of_numbers_is_kolmogorov_smirnov() -> None:
    """As scipy has it, gaps left out; of a sample and itself 0, of samples that do not overlap 1."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=300), rng.normal(0.4, 1.3, size=200)
    expected = stats.ks_2samp(one, other).statistic
    holes = np.concatenate([one, [np.nan] * 40])
    assert column_distance(holes, other, None) == pytest.approx(expected)
    assert column_distance(one, one, None) == 0
    assert column_distance(one, one + 100, None) == 1
    assert math.isnan(column_distance(np.full(3, np.nan), one, None))


def test_distance_of_categories_is_total_variation() -> None:
    """Shares of 3/4 and 1/4 against 1/2 and 1/2 are a quarter apart, a category that only one has among them."""
    assert column_distance(np.array([0.0, 0, 0, 1]), np.array([0.0, 1, np.nan]), 3) == pytest.approx(0.25)
    assert column_distance(np.array([0.0]), np.array([2.0]), 3) == 1


def test_associations_are_those_of_scipy() -> None:
    """Pearson's r, η as the share of variance that one-way groups explain, and Cramér's V, over the rows that have both."""
    rng = np.random.default_rng(1)
    number = rng.normal(size=400)
    group = (number + rng.normal(size=400) > 0.5).astype(float)
    table = np.stack([number, -number + rng.normal(size=400), group, rng.integers(0, 4, 400) * group], axis=1)
    table[:50, 1] = np.nan
    found = associations(table, (None, None, 2, 4))
    assert found[0, 1] == found[1, 0] == pytest.approx(stats.pearsonr(table[50:, 0], table[50:, 1]).statistic)
    f = stats.f_oneway(number[group == 0], number[group == 1]).statistic
    assert found[2, 0] == pytest.approx(math.sqrt(f / (f + 398)))  # η² = F / (F + (N − K) / (K − 1))
    counts = stats.contingency.crosstab(table[:, 2], table[:, 3]).count
    assert found[3, 2] == pytest.approx(stats.contingency.association(counts, method="cramer"))
    assert (np.diag(found) == 1).all()


def test_associations_of_a_constant_are_unknown() -> None:
    """Neither a constant number nor a single category varies with anything; nor is there anything without rows."""
    constant, varied = np.ones(5), np.arange(5.0)
    for kinds in ((None, None), (None, 2), (2, 5)):
        assert math.isnan(associations(np.stack([constant, varied], axis=1), kinds)[0, 1])
    assert math.isnan(associations(np.full((4, 2), np.nan), (2, 2))[0, 1])
