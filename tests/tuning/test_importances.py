"""Importances, against tables whose variance is known in closed form."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tuning.frontier import Trial
from tuning.importances import importances

BODY, BETA, SEED = "model.encoder", "objective.beta", "training.seed"


def table(bound: Callable[[int, int, int], float]) -> list[Trial]:
    """Every combination of 3 bodies, 4 weights far apart and 2 seeds, whose bound is of their numbers."""
    bodies, betas = ("conv 8", "mlp 16", "mlp 8"), (0.01, 1.0, 2.0, 100.0)
    trials = []
    for body, beta, seed in itertools.product(range(3), range(4), range(2)):
        parameters = {BODY: bodies[body], BETA: betas[beta], SEED: seed}
        nats = bound(body, beta, seed)
        trials.append(Trial(f"{body}{beta}{seed}", parameters, "finished", 5, nats - 5, 5.0, nats))
    return trials


def test_one_dimension_decides_everything() -> None:
    """What the bound depends on has all of it, what it does not depend on nothing: labels and numbers alike."""
    by_body = importances(table(lambda body, beta, seed: (80.0, 95.0, 70.0)[body]))
    assert by_body == pytest.approx({BODY: 1, BETA: 0, SEED: 0}, abs=0.05)
    by_beta = importances(table(lambda body, beta, seed: (80.0, 95.0, 70.0, 85.0)[beta]))
    assert next(iter(by_beta)) == BETA
    assert by_beta == pytest.approx({BODY: 0, BETA: 1, SEED: 0}, abs=0.05)


def test_shares_of_a_sum_are_those_of_its_terms() -> None:
    """On a whole grid the variances of the terms add up: 6² · 2/3, 4² · 5/4 and 6² · 1/4 of 53."""
    shares = importances(table(lambda body, beta, seed: 80 + 6 * body + 4 * beta + 6 * seed))
    assert shares == pytest.approx({BODY: 24 / 53, BETA: 20 / 53, SEED: 9 / 53}, abs=0.08)


def test_every_choice_weighs_the_same() -> None:
    """Where one body of three stands out by 9 nats, at the end of their order: 9² · 2/9 and 6² · 1/4 of 27."""
    shares = importances(table(lambda body, beta, seed: 80 + 9 * (body == 0) + 6 * seed))
    assert shares == pytest.approx({BODY: 2 / 3, BETA: 0, SEED: 1 / 3}, abs=0.02)


def test_what_lies_in_a_combination_is_no_dimensions_own() -> None:
    """A bound that depends on whether two dimensions agree is explained by neither alone."""
    shares = importances(table(lambda body, beta, seed: 80 + 10 * ((beta >= 2) == seed)))
    assert sum(shares.values()) < 0.3


def test_importances_leave_out_what_has_no_bound() -> None:
    """Failed trials, and bounds that are no numbers, change nothing; nor does the trials' order."""
    rows = table(lambda body, beta, seed: 80.0 + 9 * body + beta)
    failed = replace(rows[0], trial_id="f", status="failed", negative_bound=1e6)
    lost = Trial("l", {}, "failed", 0, error="its process died")
    endless = replace(rows[1], trial_id="e", negative_bound=float("inf"))
    assert importances([failed, *rows, lost, endless]) == importances(rows)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        table(lambda body, beta, seed: 80.0)[:1],
        table(lambda body, beta, seed: 80.0),
        [Trial(str(n), {BETA: n, SEED: 0}, "finished", 5, 70.0 + n, 5.0, 75.0 + n) for n in range(4)],
    ],
    ids=["no trial", "one trial", "equal bounds", "one dimension"],
)
def test_importances_of_what_cannot_be_compared_are_none(trials: list[Trial]) -> None:
    """Without two trials, two dimensions that vary, or a difference to explain, there is no answer."""
    assert importances(trials) == {}


def test_importances_are_the_same_each_time() -> None:
    """The forest's draws derive from a seed."""
    draw = random.Random(0)
    rows = table(lambda body, beta, seed: draw.uniform(70, 90))
    assert importances(rows) == importances(rows)
