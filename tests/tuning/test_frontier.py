"""The frontier: which trials no other beats, and which one goes on."""

from __future__ import annotations

import random

import pytest

from tuning.frontier import Trial, candidates, hypervolume, pareto, select
from vae.errors import ClusterError


def trial(name: str, rate: float | None = None, distortion: float | None = None, error: str | None = None) -> Trial:
    bound = None if rate is None or distortion is None else rate + distortion
    status = "failed" if error else "finished"
    return Trial(name, {"model.latent_dim": name}, status, 3, distortion, rate, bound, 2, error)


def test_select_takes_the_lowest_bound() -> None:
    """The trial with the least rate + distortion goes on, whatever β it had; trials without a result do not count."""
    trials = [trial("a", 5, 95), trial("b", 20, 60), trial("c", 40, 50), trial("d"), trial("e", error="out of memory")]
    assert select(trials).trial_id == "b"


def test_select_does_not_depend_on_the_order() -> None:
    """Between equal bounds the smaller identity wins, in any order of the trials."""
    assert select([trial("b", 20, 60), trial("a", 30, 50)]).trial_id == "a"
    assert select([trial("a", 30, 50), trial("b", 20, 60)]).trial_id == "a"


def test_select_says_why_there_is_nothing() -> None:
    """Without any result the error lists each reason once."""
    trials = [trial("a", error="out of memory"), trial("b"), trial("c", error="out of memory")]
    with pytest.raises(ClusterError) as error:
        select(trials)
    assert str(error.value) == "none of the 3 trials came to a result: no epoch was finished; out of memory"


def test_pareto_keeps_what_none_beats() -> None:
    """Sorted by rate; of equal rates the lower distortion stays; equal pairs stay once; no result, no place."""
    trials = [
        trial("dominated", 11, 71),
        trial("low rate", 1, 100),
        trial("same rate, worse", 10, 80),
        trial("knee", 10, 70),
        trial("twin", 10, 70),
        trial("high rate", 30, 65),
        trial("unfinished"),
    ]
    assert [one.trial_id for one in pareto(trials)] == ["low rate", "knee", "high rate"]


def test_pareto_matches_its_definition() -> None:
    """On random trials the frontier is the set that no trial beats in both, by brute force."""
    draw = random.Random(0)
    trials = [trial(str(i), draw.random(), draw.random()) for i in range(60)]

    def beaten(one: Trial) -> bool:
        return any(
            other.rate <= one.rate and other.distortion <= one.distortion  # pyright: ignore[reportOperatorIssue]
            for other in trials
            if other is not one
        )

    expected = sorted((one for one in trials if not beaten(one)), key=lambda one: one.rate or 0)
    assert pareto(trials) == expected


def test_pareto_of_nothing_is_empty() -> None:
    """No trials, no frontier."""
    assert pareto([]) == []


def lane(name: str, beta: float, seed: int, rate: float, distortion: float, **scores: float) -> Trial:
    parameters = {"objective.beta": beta, "training.seed": seed}
    return Trial(name, parameters, "finished", 3, distortion, rate, rate + distortion, 4, None, scores)


LUCKY = [
    lane("a.0", 1.0, 0, 10, 60),
    lane("a.1", 1.0, 1, 10, 90),
    lane("a.2", 1.0, 2, 10, 86),
    lane("b.0", 2.0, 0, 9, 66),
    lane("b.1", 2.0, 1, 9, 67),
    lane("b.2", 2.0, 2, 9, 65),
]


def test_a_lucky_seed_does_not_win() -> None:
    """The setting with the best mean does, and of its seeds the one nearest to that mean."""
    best, other = candidates(LUCKY)
    assert best.mean == 75
    assert best.standard_error == pytest.approx(1 / 3**0.5)
    assert other.mean == pytest.approx(88.67, abs=0.01)
    assert select(LUCKY).trial_id == "b.0"


def test_failed_seed_is_judged_by_the_others() -> None:
    """A candidate keeps the seeds that came to a result; a single one has no standard error."""
    failed = Trial("b.3", {"objective.beta": 2.0, "training.seed": 3}, "failed", 1, 9, 1, 10, 4, "diverged")
    best, other = candidates([LUCKY[0], LUCKY[3], failed])
    assert (best.typical.trial_id, other.typical.trial_id) == ("a.0", "b.0")
    assert other.standard_error is None


def test_target_is_kept_before_anything_is_better() -> None:
    """The best reconstruction at no more than a rate; the lowest rate at no more than a distortion."""
    trials = [trial("a", 5, 95), trial("b", 20, 60), trial("c", 40, 50)]
    assert select(trials, "rate <= 20").trial_id == "b"
    assert select(trials, "rate<=19.5").trial_id == "a"
    assert select(trials, "distortion <= 60").trial_id == "b"
    assert select(trials, "distortion <= 200").trial_id == "a"
    with pytest.raises(
        ClusterError, match=r"no trial fits 'rate <= 3': of 3 with a result the least rate is 5.000 nats"
    ):
        select(trials, "rate <= 3")


def test_scores_are_compared_the_right_way_round() -> None:
    """Of a likelihood in nats and of a Fréchet distance the least is best, of `mig`, `udr` and active units the most."""
    trials = [
        lane("a", 1.0, 0, 10, 60, nll=65.0, mig=0.1, udr=0.4, frechet=3.0),
        lane("b", 2.0, 0, 10, 61, nll=64.0, mig=0.3, udr=0.6, frechet=2.0),
    ]
    for rule in ("nll", "mig", "udr", "frechet"):
        assert select(trials, rule).trial_id == "b"
    assert select(trials, "elbo").trial_id == "a"
    assert (
        select([*trials, Trial("c", {"objective.beta": 4.0}, "finished", 3, 90, 9, 99, 9)], "active_units").trial_id
        == "c"
    )
    with pytest.raises(ClusterError, match="none has the score 'impute_rmse'"):
        select(trials, "impute_rmse")


def test_hypervolume_is_the_area_that_the_front_beats() -> None:
    """By hand, and on random fronts by counting points of a grid."""
    assert hypervolume([trial("a", 1, 8), trial("b", 4, 3)], 10, 10) == 9 * 2 + 6 * 5
    assert hypervolume([trial("beyond", 11, 1), trial("too", 1, 12)], 10, 10) == 0
    draw = random.Random(1)
    trials = [trial(str(i), draw.random(), draw.random()) for i in range(12)]
    cells = [(x / 200 + 0.0025, y / 200 + 0.0025) for x in range(200) for y in range(200)]
    beaten = sum(any(t.rate <= x and t.distortion <= y for t in trials) for x, y in cells)  # pyright: ignore
    assert hypervolume(trials, 1, 1) == pytest.approx(beaten / len(cells), abs=0.01)
