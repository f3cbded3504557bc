"""What `torch.compile` must leave as it is: every part, in few models."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.laws import parts
from tests.laws.parts import MODELS, PAIRS, Config, randomised
from vae.config import ObjectiveConfig, parse
from vae.testing.models import examples, gradients, noise
from vae.training.step import Step, StepInputs

COMPILED_PAIRS = (
    "diagonal gaussian, standard normal",
    "diagonal gaussian, vamp",
    "diagonal gaussian, conditional",
    "student t, mixture",
    "iaf, maf",
    "neural splines, neural splines",
    "ladder, hierarchical",
    *(pair for pair in PAIRS if parts.has_codes(PAIRS[pair])),
)


def _compiled() -> dict[str, Config]:
    """Every pair above with a likelihood, a body and a condition of images, in turn; and tables by each likelihood."""
    images = parts.IMAGE_LIKELIHOODS
    bodies, conditions = ("mlp", "gated mlp", "conv", "residual conv"), ("concatenation", "film and gates")
    table = MODELS["table, concatenation"]
    models = {"table": table, "table by column": {**table, "likelihood": parts.LIKELIHOODS["autoregressive"]}}
    for pair, likelihood, body, condition in zip(
        COMPILED_PAIRS, images, itertools.cycle(bodies), itertools.cycle(conditions), strict=False
    ):
        changes = {"likelihood": parts.LIKELIHOODS[likelihood], "encoder": parts.BODIES[body]}
        models[f"{pair}, {likelihood}"] = {**PAIRS[pair], **changes, **parts.CONDITIONS[condition]}
    return models


COMPILED = _compiled()


def test_compiled_models_cover_every_part() -> None:
    """Each kind of body, posterior, prior and likelihood occurs in a model that is compiled."""
    for field in ("encoder", "posterior", "prior", "likelihood"):
        used, every = ({m[field]["kind"] for m in models.values() if field in m} for models in (COMPILED, MODELS))
        assert used == every, field


# Dynamo hides this warning of its own making by other means than a filter, which `error` precedes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("config", COMPILED.values(), ids=COMPILED)
def test_compiled_step_is_the_step(config: Config) -> None:
    """Traced by `torch.compile`, a step gives the loss and the gradients of the step as it is."""
    model = randomised(config)
    step = Step(model, parse(ObjectiveConfig, {"bound": parts.BOUNDS["elbo"], "beta": 2.0}))
    arguments = StepInputs(examples(model), noise(model), None), torch.tensor(2.0), torch.zeros(())
    traced: list[torch.fx.GraphModule] = []

    def trace(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        traced.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(step, backend=trace)(*arguments)
    assert traced
    expected = step(*arguments)
    torch.testing.assert_close(compiled.loss, expected.loss)
    torch.testing.assert_close(compiled.parts, expected.parts)
    torch.testing.assert_close(compiled.z, expected.z)
    found = gradients(model, compiled.loss)
    for name, gradient in gradients(model, expected.loss).items():
        torch.testing.assert_close(found[name], gradient, msg=lambda text, name=name: f"{name}: {text}")
