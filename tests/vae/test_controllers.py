"""Controllers: β at each optimiser step."""

from __future__ import annotations

import pytest

from vae.config import ObjectiveConfig, Warmup
from vae.controllers import beta_at, check_schedule
from vae.errors import ConfigError

WARMUP = ObjectiveConfig(beta=4.0, controller=Warmup(steps=10))


def test_constant_beta_is_the_same_at_every_step() -> None:
    """Without a controller β is what the configuration says."""
    assert {beta_at(ObjectiveConfig(beta=0.3), step) for step in (0, 1, 10**6)} == {0.3}


@pytest.mark.parametrize(("step", "beta"), [(0, 0.0), (1, 0.4), (5, 2.0), (9, 3.6), (10, 4.0), (11, 4.0), (10**6, 4.0)])
def test_warmup_rises_linearly_and_stays(step: int, beta: float) -> None:
    """β is 0 at the first step, half of it at half the warm-up, all of it from its end on."""
    assert beta_at(WARMUP, step) == pytest.approx(beta, abs=1e-12)


def test_schedule_longer_than_the_run_is_refused() -> None:
    """A warm-up that the run is too short for is refused with both lengths."""
    with pytest.raises(ConfigError) as error:
        check_schedule(WARMUP, 10)
    assert str(error.value) == (
        "objective.controller.steps: the warm-up takes 10 steps and the run has 10, so beta would never "
        "reach 4.0; shorten the warm-up or train more epochs"
    )


@pytest.mark.parametrize("config", [WARMUP, ObjectiveConfig(beta=4.0)])
def test_schedule_within_the_run_is_taken(config: ObjectiveConfig) -> None:
    """A warm-up that ends a step before the run fits; a constant β fits any run."""
    check_schedule(config, 11)
