"""What every objective must obey, from a batch to the loss. A new part is one line in a list of `tests/laws/parts.py`.

Shapes: B batch, L latent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.laws import parts
from tests.laws.parts import BOUNDS, CONTROLLERS, CORRUPTIONS, LATENT, REGULARIZERS, Config, build, complete
from vae.config import ModelConfig, ObjectiveConfig, parse
from vae.data.batches import Batch
from vae.draws import RowDraws
from vae.model import VAE
from vae.parts.bounds.bound import bound_loss
from vae.parts.regularizers.adversary import Discriminator
from vae.parts.regularizers.regularizer import penalty
from vae.seeds import Stream
from vae.testing.models import ROWS, batch, values
from vae.training.step import Step, StepInputs, StepResult, draw, present

EXAMPLES = 100
"""Of the training split."""

OBJECTIVES: dict[str, Config] = {
    **{f"bound {name}": {"bound": part} for name, part in BOUNDS.items()},
    **{f"controller {name}": {"controller": part} for name, part in CONTROLLERS.items()},
    **{f"regularizer {name}": {"regularizers": [part]} for name, part in REGULARIZERS.items()},
    **{f"corruption {name}": {"corruption": part} for name, part in CORRUPTIONS.items()},
    "every regularizer": {"regularizers": list(REGULARIZERS.values())},
    "ciwae, capacity, every regularizer": {
        "bound": BOUNDS["ciwae"],
        "controller": CONTROLLERS["capacity"],
        "regularizers": list(REGULARIZERS.values()),
    },
}
EVERY_OBJECTIVE = pytest.mark.parametrize("config", OBJECTIVES.values(), ids=OBJECTIVES)


def gates_of(objective: ObjectiveConfig) -> Config:
    return parts.CONDITIONS["gates"] if objective.controller.kind == "multi_rate" else {}


def model_of(objective: ObjectiveConfig) -> VAE:
    """The plainest that the objective goes with."""
    return build(complete(**gates_of(objective))).eval()


def models_of(objective: ObjectiveConfig) -> dict[str, VAE]:
    """One of every posterior that the objective does not refuse."""
    found: dict[str, Config] = {}
    for name, config in parts.PAIRS.items():
        config = {**config, **gates_of(objective)}
        if parts.is_accepted(config) and fits(parse(ModelConfig, config), objective):
            found.setdefault(name.split(",")[0], config)
    return {name: build(config) for name, config in found.items()}


def fits(model: ModelConfig, objective: ObjectiveConfig) -> bool:
    try:
        objective.check_fits(model, ROWS)
    except ValueError:
        return False
    return True


def drawn_for(model: VAE, objective: ObjectiveConfig, examples: Batch, seed: int = 0) -> StepInputs:
    """A batch as the model takes it, and what a step draws for it."""
    draws = RowDraws(seed, Stream.STEP)
    return draw(model, objective, present(model, objective, examples, draws), draws)


def discriminator_of(objective: ObjectiveConfig) -> Discriminator | None:
    for regularizer in objective.regularizers:
        if regularizer.has_optimizer:
            return Discriminator(regularizer, LATENT, seed=0)
    return None


def take(
    model: VAE, objective: ObjectiveConfig, wrap: Callable[[Step], Callable[..., StepResult]] = lambda step: step
) -> StepResult:
    step = Step(model, objective, EXAMPLES, discriminator_of(objective))
    drawn = drawn_for(model, objective, batch(model))
    return wrap(step)(drawn, torch.tensor(2.0), torch.tensor(1.5))


@EVERY_OBJECTIVE
def test_step_gives_every_parameter_a_finite_gradient(config: Config) -> None:
    """With every posterior that the objective goes with: a finite loss, and for the optimiser no parameter without."""
    objective = parse(ObjectiveConfig, config)
    models = models_of(objective)
    assert "diagonal gaussian" in models
    for name, model in models.items():
        result = take(model, objective)
        assert result.loss.isfinite(), name
        assert result.parts.isfinite().all(), name
        result.loss.backward()
        for parameter, value in model.named_parameters():
            assert value.grad is not None, f"{name}: {parameter}"
            assert value.grad.isfinite().all(), f"{name}: {parameter}"


@EVERY_OBJECTIVE
def test_step_tells_distortion_rate_and_draws_without_gradient(config: Config) -> None:
    """What is logged and what the discriminator learns from holds no graph; z is the first draw of each example."""
    objective = parse(ObjectiveConfig, config)
    model = model_of(objective)
    result = take(model, objective)
    drawn = drawn_for(model, objective, batch(model))
    terms = model(drawn.inputs, drawn.noise)
    assert not result.parts.requires_grad
    assert not result.z.requires_grad
    assert torch.equal(result.z, terms.z[0])
    torch.testing.assert_close(result.parts, torch.stack([terms.distortion.mean(), terms.rate.mean()]))


@EVERY_OBJECTIVE
def test_step_is_the_bound_and_its_regularizers(config: Config) -> None:
    """Loss and gradient are the bound's, with each example's own β under multi_rate, plus each regulariser's penalty."""
    objective = parse(ObjectiveConfig, config)
    model = model_of(objective)
    drawn = drawn_for(model, objective, batch(model))
    terms = model(drawn.inputs, drawn.noise)
    beta = torch.tensor(2.0)
    if drawn.inputs.log_beta is not None:
        beta = beta * drawn.inputs.log_beta.squeeze(-1).exp()
    expected = bound_loss(terms, objective, beta, 1.5).loss
    reference = None if drawn.reference is None else model.sample_prior(drawn.reference, drawn.inputs.condition)
    discriminator = discriminator_of(objective)
    for regularizer in objective.regularizers:
        if regularizer.has_optimizer:
            assert discriminator is not None
            expected = expected + discriminator.penalty(terms.z[0])
        else:
            expected = expected + penalty(regularizer, terms, reference, EXAMPLES)
    loss, parameters = take(model, objective).loss, list(model.parameters())
    torch.testing.assert_close(loss, expected)
    found, gradients = (torch.autograd.grad(each, parameters, retain_graph=True) for each in (loss, expected))
    torch.testing.assert_close(found, gradients)
    if objective.regularizers:
        assert not torch.equal(expected, bound_loss(terms, objective, beta, 1.5).loss)


@EVERY_OBJECTIVE
def test_autocast_leaves_the_loss_in_full(config: Config) -> None:
    """Trap, AMP: with networks in bfloat16 the loss is float32 and near what full precision gives."""
    objective = parse(ObjectiveConfig, config)
    model = model_of(objective)
    with torch.autocast("cpu", torch.bfloat16):
        half = take(model, objective)
    assert half.loss.dtype == half.parts.dtype == torch.float32
    torch.testing.assert_close(half.loss, take(model, objective).loss, rtol=0.02, atol=0.1)


@EVERY_OBJECTIVE
def test_everything_drawn_for_a_step_repeats_with_its_seed(config: Config) -> None:
    """The same seed draws the same bits, another one others; the global generator is neither read nor moved."""
    objective = parse(ObjectiveConfig, config)
    model = model_of(objective)

    def drawn(seed: int) -> list[Tensor]:
        inputs, noise, reference = drawn_for(model, objective, batch(model), seed)
        return [each for each in (*inputs, noise, reference) if each is not None]

    before = torch.random.get_rng_state()
    first, again, other = drawn(0), drawn(0), drawn(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_corruption_is_what_the_encoder_sees(corruption: Config) -> None:
    """The likelihood is of the clean example: only the encoder's input is corrupted, and its code changes."""
    objective, model = parse(ObjectiveConfig, {"corruption": corruption}), build(complete()).eval()
    drawn = drawn_for(model, objective, batch(model))
    clean = drawn_for(model, ObjectiveConfig(), batch(model))
    assert torch.equal(drawn.inputs.x, clean.inputs.x)
    assert drawn.inputs.seen is not None
    assert not torch.equal(drawn.inputs.seen, drawn.inputs.x)
    assert not torch.equal(model.encode(drawn.inputs).mean, model.encode(clean.inputs).mean)
    of_seen = model.encode(drawn.inputs._replace(x=drawn.inputs.seen, seen=None)).mean
    assert torch.equal(model.encode(drawn.inputs).mean, of_seen)


def test_multi_rate_draws_beta_uniformly_in_the_logarithm() -> None:
    """Every example has a β of its own, between low and high, with the logarithm's mean and spread of a uniform."""
    objective = parse(ObjectiveConfig, {"controller": {"kind": "multi_rate", "low": 0.01, "high": 100.0}})
    model = build(complete(**parts.CONDITIONS["gates"]))
    many = Batch(values(model).repeat(400, 1, 1, 1))
    log_beta = drawn_for(model, objective, many).inputs.log_beta
    assert log_beta is not None
    assert log_beta.shape == (400 * ROWS, 1)
    assert math.log(0.01) <= log_beta.min() < -4.4
    assert 4.4 < log_beta.max() <= math.log(100.0)
    assert log_beta.mean().item() == pytest.approx(0.0, abs=0.25)
    assert log_beta.std().item() == pytest.approx(math.log(1e4) / math.sqrt(12), rel=0.05)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_prior_is_drawn_for_a_discrepancy_alone(name: str) -> None:
    """Nothing is drawn that a step does not use."""
    objective = parse(ObjectiveConfig, OBJECTIVES[name])
    model = model_of(objective)
    wanted = any(regularizer.compares_with_prior for regularizer in objective.regularizers)
    assert (drawn_for(model, objective, batch(model)).reference is not None) is wanted


def test_discrepancy_is_to_the_models_own_prior() -> None:
    """Trap, MMD: the reference comes from the model's prior under each example's condition, not from N(0, I).

    Where the posterior is the prior N(3, e⁻²) the penalty is near 0, and where it is N(0, e⁻²) it is not.
    """
    objective = parse(ObjectiveConfig, {"regularizers": [{"kind": "mmd", "weight": 1.0, "kernel": "rbf"}]})
    model = build(complete(prior=parts.PRIORS["conditional"])).eval()
    _say(model.prior.layers[-1], 3.0)
    few = batch(model)
    assert few.labels is not None
    assert few.attributes is not None
    many = Batch(few.values.repeat(20, 1, 1, 1), few.labels.repeat(20), few.attributes.repeat(20, 1))
    found = []
    for mean in (3.0, 0.0):
        _say(model.posterior.head, mean)
        drawn = drawn_for(model, objective, many)
        step = Step(model, objective, EXAMPLES)(drawn, torch.tensor(0.0), torch.tensor(0.0))
        found.append((step.loss - step.parts[0]).item())  # at β = 0 the loss is distortion and penalty
    assert abs(found[0]) < 0.02
    assert found[1] > 0.5


def test_discrepancy_teaches_the_posterior_and_not_the_prior() -> None:
    """Draws from a learned prior are the reference: the penalty moves what is compared with them, never the draws."""
    model = build(complete(prior=parts.PRIORS["mixture"])).eval()
    weighted, plain = (
        parse(ObjectiveConfig, {"regularizers": [{"kind": "mmd", "weight": weight}]}) for weight in (100.0, 1.0)
    )
    gradients = []
    for objective in (weighted, plain):
        drawn = drawn_for(model, objective, batch(model))
        loss = Step(model, objective, EXAMPLES)(drawn, torch.tensor(0.0), torch.tensor(0.0)).loss
        gradients.append(torch.autograd.grad(loss, [*model.prior.parameters(), model.posterior.head.weight]))
    *to_prior, to_posterior = zip(*gradients, strict=True)
    assert not torch.allclose(*to_posterior)
    for one, other in to_prior:
        assert one.eq(0).all()  # at β = 0 nothing else in the loss knows the prior
        assert other.eq(0).all()


def _say(layer: torch.nn.Linear, mean: float) -> None:
    """Lets a head say N(mean, e⁻²) in every dimension, whatever it sees."""
    torch.nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([mean] * LATENT + [-1.0] * LATENT))


COMPILED: dict[str, Config] = {
    "ciwae, capacity, every regularizer": OBJECTIVES["ciwae, capacity, every regularizer"],
    "free bits": OBJECTIVES["controller free bits"],
    "iwae, multi rate": {"bound": BOUNDS["iwae"], "controller": CONTROLLERS["multi rate"]},
}


# Dynamo hides this warning of its own making by other means than a filter, which `error` precedes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("config", COMPILED.values(), ids=COMPILED)
def test_compiled_step_is_the_step(config: Config) -> None:
    """Traced by `torch.compile`, a step gives the loss and the gradients of the step as it is."""
    objective = parse(ObjectiveConfig, config)
    model = model_of(objective)
    parameters = list(model.parameters())
    traced: list[torch.fx.GraphModule] = []

    def trace(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        traced.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = take(model, objective, lambda step: torch.compile(step, backend=trace))
    assert traced
    expected = take(model, objective)
    torch.testing.assert_close(compiled.loss, expected.loss)
    for found, gradient in zip(
        *(torch.autograd.grad(result.loss, parameters) for result in (compiled, expected)), strict=True
    ):
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-4)


def test_objectives_cover_every_part() -> None:
    """Each bound, controller, regulariser and corruption occurs in an objective of the laws."""
    for field, listed in (("bound", BOUNDS), ("controller", CONTROLLERS), ("corruption", CORRUPTIONS)):
        assert all(part in [config.get(field) for config in OBJECTIVES.values()] for part in listed.values())
    used = list(itertools.chain.from_iterable(config.get("regularizers", []) for config in OBJECTIVES.values()))
    assert all(part in used for part in REGULARIZERS.values())
