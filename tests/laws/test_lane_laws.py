"""Every part that vmap can carry gives each lane of a stack what it gives a model by itself; others are refused by name.

Shapes: K lanes, B batch.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.laws import parts
from tests.laws.parts import Config
from tests.laws.test_objective_laws import OBJECTIVES, batch, gates_of
from vae.config import ObjectiveConfig, RunConfig, parse
from vae.draws import RowDraws
from vae.model import VAE
from vae.seeds import Stream
from vae.training.lanes import refusal
from vae.training.stack import LaneNoise, Stack, StackGradients
from vae.training.step import Step, draw, present

LANES, EXAMPLES = 3, 50
BETAS, CAPACITIES = torch.tensor([0.5, 1.0, 4.0]), torch.tensor([0.0, 1.0, 2.0])

MODELS = {name: config for name, config in parts.MODELS.items() if parts.is_stackable(config)}
CARRIED = {name: config for name, config in OBJECTIVES.items() if "adversary" not in name and "every" not in name}


def lanes_of(config: Config) -> list[VAE]:
    """Three models that start with weights of their own."""
    models = [parts.build(config, seed) for seed in range(1, LANES + 1)]
    for model in models:
        model.start_at(model.inputs(parts.values(model), *_told(model), draws=RowDraws(0, Stream.STARTING_EXAMPLES)))
    return models


def _told(model: VAE) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    found = batch(model)
    return found.labels, found.attributes


def assert_like_each_alone(models: list[VAE], objective: ObjectiveConfig) -> None:
    """Losses, their parts and gradients of the stack against those of every model by itself, for two batches and weights of
    the rate: nothing of the first is left in the graph that is traced with it.
    """
    stack = Stack(models)
    gradients = StackGradients(stack, Step(stack.template, objective, EXAMPLES))
    for seed, (betas, capacities) in enumerate([(BETAS, CAPACITIES), (CAPACITIES + 0.5, BETAS)]):
        _assert_like_each_alone(models, gradients, objective, seed, betas, capacities)
    assert gradients.traced.is_traced


def _assert_like_each_alone(
    models: list[VAE],
    gradients: StackGradients,
    objective: ObjectiveConfig,
    seed: int,
    betas: Tensor,
    capacities: Tensor,
) -> None:
    examples = batch(models[0])
    rolled = examples.gather(torch.arange(len(examples)).roll(seed))
    inputs = present(models[0], objective, rolled, RowDraws(seed, Stream.PRESENTATION))
    seeds = [10 * seed + lane for lane in range(LANES)]
    draws = [draw(models[0], objective, inputs, RowDraws(one, Stream.STEP)) for one in seeds]
    every = draw(models[0], objective, inputs, RowDraws(seeds, Stream.STEP))
    alone = []
    for model, one, beta, capacity in zip(models, draws, betas, capacities, strict=True):
        model.zero_grad()
        result = Step(model, objective, EXAMPLES)(one, beta, capacity)
        result.loss.backward()
        alone.append(result)
    loss_K, parts_K2 = gradients(
        inputs, LaneNoise(every.noise, every.inputs.log_beta, every.reference), betas, capacities
    )
    torch.testing.assert_close(loss_K, torch.stack([one.loss for one in alone]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts_K2, torch.stack([one.parts for one in alone]), rtol=1e-5, atol=1e-5)
    for name, stacked in gradients.stack.parameters.items():
        for lane, model in enumerate(models):
            wanted = model.get_parameter(name).grad
            found = None if stacked.grad is None else stacked.grad[lane]
            if wanted is None:
                assert found is None or not found.any(), name
            else:
                torch.testing.assert_close(
                    found, wanted, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
                )


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_every_model_is_the_same_in_a_stack(config: Config) -> None:
    """Every body, condition, posterior, prior and likelihood."""
    gated = {"controller": {"kind": "multi_rate"}} if config.get("beta_gates") else {}
    run = parse(RunConfig, {"model": config, "objective": gated})
    assert refusal(run) is None
    assert_like_each_alone(lanes_of(config), run.objective)


@pytest.mark.parametrize("config", CARRIED.values(), ids=CARRIED)
def test_every_objective_is_the_same_in_a_stack(config: Config) -> None:
    """Every bound, controller, regulariser and corruption."""
    objective = parse(ObjectiveConfig, config)
    assert_like_each_alone(lanes_of(parts.complete(**gates_of(objective))), objective)


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
