"""The frontier: which trials no other beats, and which one goes on."""

from __future__ import annotations

import random

import pytest

from tuning.frontier import Trial, pareto, select
from vae.errors import ClusterError


def trial(name: str, rate: float | None = None, distortion: float | None = None, error: str | None = None) -> Trial:
    bound = None if rate is None or distortion is None else rate + distortion
    status = "failed" if error else "finished"
    return Trial(name, {"objective.beta": 1.0}, status, 3, distortion, rate, bound, 2, error)


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
