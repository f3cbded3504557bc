"""Every part that vmap can carry gives each lane of a stack what it gives a model by itself; others are refused by name."""

from __future__ import annotations

from functools import partial

import pytest

from tests.laws import parts
from tests.laws.parts import Config
from tests.laws.test_objective_laws import OBJECTIVES, gates_of
from vae.config import ObjectiveConfig, RunConfig, parse
from vae.testing.objectives import a_lane_is_the_model_alone
from vae.training.lanes import refusal

MODELS = {name: config for name, config in parts.MODELS.items() if parts.is_stackable(config)}
CARRIED = {name: config for name, config in OBJECTIVES.items() if "adversary" not in name and "every" not in name}


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_every_model_is_the_same_in_a_stack(config: Config) -> None:
    """Every body, condition, posterior, prior and likelihood."""
    gated = {"controller": {"kind": "multi_rate"}} if config.get("beta_gates") else {}
    run = parse(RunConfig, {"model": config, "objective": gated})
    assert refusal(run) is None
    assert a_lane_is_the_model_alone(partial(parts.build, config), run.objective).traced.is_traced


@pytest.mark.parametrize("config", CARRIED.values(), ids=CARRIED)
def test_every_objective_is_the_same_in_a_stack(config: Config) -> None:
    """Every bound, controller, regulariser and corruption."""
    objective = parse(ObjectiveConfig, config)
    make = partial(parts.build, parts.complete(**gates_of(objective)))
    assert a_lane_is_the_model_alone(make, objective).traced.is_traced


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": parts.MODELS["vector quantized, uniform codes"]}, "model.posterior: a vector_quantized"),
        ({"objective": {"regularizers": [parts.REGULARIZERS["adversary"]]}}, "objective.regularizers: an adversary"),
        ({"training": {"compile": "on"}}, "training.compile"),
        ({"scaling": {"num_workers": 2}}, "scaling.num_workers"),
    ],
)
def test_what_a_stack_cannot_carry_is_named(changes: Config, named: str) -> None:
    """So that a search can train such models one at a time, and say why."""
    reason = refusal(parse(RunConfig, changes))
    assert reason is not None
    assert reason.startswith(named)
