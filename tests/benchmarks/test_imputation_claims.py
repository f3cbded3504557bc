"""Claims of the imputation page follow from the figures of single seeds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.reproduce.baselines import completed, forest_completed
from tests.benchmarks.reproduce.imputation import BUDGETS, MEAN, OURS, RIDGE, claims
from tests.benchmarks.reproduce.incomplete import complete_table, hidden
from tests.benchmarks.work import Outcome


def outcomes(setting: str, row: str, errors: list[float], **more: float) -> list[Outcome]:
    return [Outcome(row, setting, seed, {"mse": mse, **more}, 1.0) for seed, mse in enumerate(errors)]


def page(ridge: list[float]) -> list[Outcome]:
    """MIWAE, the mean and ridge regressions on one table whose entries are missing at random."""
    return [
        *outcomes("breast, MAR", OURS, [0.40, 0.37, 0.39], coverage=0.85, **{"few draws": 0.0}),
        *outcomes("breast, MAR", MEAN, [1.1, 1.2, 1.0]),
        *outcomes("breast, MAR", RIDGE, ridge),
    ]


@pytest.mark.parametrize(
    ("ridge", "holds"),
    [([0.30, 0.28, 0.28], False), ([0.50, 0.46, 0.49], True), ([0.50, 0.30, 0.45], None), ([0.41, 0.30, 0.41], False)],
    ids=["nearer", "further", "not shown", "nearer on average"],
)
def test_baseline_is_compared_by_paired_differences(ridge: list[float], holds: bool | None) -> None:
    """MIWAE beats a baseline where the interval of the differences excludes 0; a nearer baseline is never unclear."""
    found = {claim.text: claim for claim in claims(BUDGETS["cpu"], page(ridge))}
    claim = found[f"breast, MAR: mse of MIWAE below that of {RIDGE}, paired by seed"]
    assert claim.holds is holds
    assert found[f"breast, MAR: mse of MIWAE below that of {MEAN}, paired by seed"].holds


def test_nearer_baseline_opens_the_claims() -> None:
    """A claim that an untuned baseline refutes comes first, with both figures and their difference."""
    first = claims(BUDGETS["cpu"], page([0.30, 0.28, 0.28]))[0]
    assert first.holds is False
    assert first.found.startswith("0.387 against 0.287, difference +0.100 (")


def test_coverage_target_is_between_88_and_92_per_cent() -> None:
    """Intervals that hold 85 % of the truth miss the target; rows with few draws are counted beside them."""
    found = {claim.text: claim.holds for claim in claims(BUDGETS["cpu"], page([0.5, 0.5, 0.5]))}
    assert found["breast, MAR: coverage of the 90 % intervals"] is False
    assert found["breast, MAR: share of rows with fewer than 10 effective draws"] is True


@pytest.mark.parametrize(("name", "share"), [("breast", 0.5), ("breast, 10 %", 0.1), ("breast, 90 %", 0.9)])
def test_name_of_table_says_share_of_holes(name: str, share: float) -> None:
    """A percentage at the end of a name hides that share of all entries completely at random; without one it is half."""
    assert hidden(name, complete_table(name), 0).mean() == pytest.approx(share, abs=0.01)


def test_page_measures_every_share_of_holes() -> None:
    """The page has all three tables with 10, 50 and 90 % hidden, and two whose entries are missing at random."""
    shares = {f"{name}{share}" for name in ("breast", "red wine", "white wine") for share in ("", ", 10 %", ", 90 %")}
    assert shares | {"breast, MAR", "red wine, MAR"} <= set(BUDGETS["cpu"].epochs)


def test_forest_imputes_a_category_from_a_number() -> None:
    """Hidden codes that a number decides are found by the trees and not by the mode; what is observed stays."""
    rng = np.random.default_rng(0)
    number_N = rng.normal(size=400)
    truth_ND = np.stack([number_N, np.digitize(number_N, [-0.5, 0.5])], axis=1)
    hidden_ND = rng.random((400, 2)) < [0.0, 0.3]
    seen_ND = np.where(hidden_ND, np.nan, truth_ND)
    found_ND = forest_completed(seen_ND, (0, 3), seed=0, trees=20, rounds=1)
    assert (found_ND == truth_ND)[~hidden_ND].all()
    assert (found_ND == truth_ND)[hidden_ND].mean() > 0.95
    assert (completed(MEAN, seen_ND, (0, 3), 0, 20) == truth_ND)[hidden_ND].mean() < 0.5
