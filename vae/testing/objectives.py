"""Laws of the parts of an objective, and of lanes, which train with one.

Shapes: K lanes, B batch, L latent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vae.config import ObjectiveConfig
from vae.draws import RowDraws
from vae.parts.corruptions.corruption import CorruptionPart
from vae.parts.regularizers.regularizer import RegularizerPart, penalty
from vae.seeds import Stream
from vae.testing.expecting import Broken, expect, expect_close, expect_equal, expect_finite
from vae.testing.models import ROWS, Make, batch, examples, generator, noise, randomised
from vae.training.stack import LaneNoise, Stack, StackGradients
from vae.training.step import Step, draw, present

LANES, EXAMPLES = 3, 50
"""Number of lanes, and of examples of the training split."""
BETAS, CAPACITIES = torch.tensor([0.5, 1.0, 4.0]), torch.tensor([0.0, 1.0, 2.0])


def a_lane_is_the_model_alone(make: Make, objective: ObjectiveConfig) -> StackGradients:
    """Checks losses, their parts and gradients of a stack against those of every model by itself; returns the stack.

    It takes two batches and two sets of weights of the rate, so that nothing of the first stays in the traced graph.
    """
    models = [make(seed) for seed in range(1, LANES + 1)]
    for model in models:
        rows, draws = batch(model), RowDraws(0, Stream.STARTING_EXAMPLES)
        model.start_at(model.inputs(rows.values, rows.labels, rows.attributes, draws=draws))
    stack = Stack(models)
    lanes = StackGradients(stack, Step(stack.template, objective, EXAMPLES))
    for seed, (betas, capacities) in enumerate([(BETAS, CAPACITIES), (CAPACITIES + 0.5, BETAS)]):
        rolled = batch(models[0]).gather(torch.arange(ROWS).roll(seed))
        inputs = present(models[0], objective, rolled, RowDraws(seed, Stream.PRESENTATION))
        seeds = [10 * seed + lane for lane in range(LANES)]
        alone = []
        for model, beta, capacity, own in zip(models, betas, capacities, seeds, strict=True):
            model.zero_grad()
            drawn = draw(model, objective, inputs, RowDraws(own, Stream.STEP))
            alone.append(Step(model, objective, EXAMPLES)(drawn, beta, capacity))
            alone[-1].loss.backward()
        every = draw(models[0], objective, inputs, RowDraws(seeds, Stream.STEP))
        drawn = LaneNoise(every.noise, every.inputs.log_beta, every.reference)
        loss_K, parts_K2 = lanes(inputs, drawn, betas, capacities)
        _expect_alike("loss", loss_K, torch.stack([one.loss for one in alone]), 1e-5)
        _expect_alike("distortion and rate", parts_K2, torch.stack([one.parts for one in alone]), 1e-5)
        for name, stacked in stack.parameters.items():
            wanted = [model.get_parameter(name).grad for model in models]
            for lane, gradient in enumerate(wanted):
                found = torch.zeros_like(stacked[lane]) if stacked.grad is None else stacked.grad[lane]
                expected = torch.zeros_like(found) if gradient is None else gradient
                _expect_alike(f"gradient of {name}", found, expected, 1e-4)
    return lanes


def _expect_alike(what: str, found: Tensor, expected: Tensor, rtol: float) -> None:
    expect_close(f"a lane to have the {what} of its model alone", found, expected, rtol=rtol, atol=1e-5)


# --- corruptions ----------------------------------------------------------------------------------------------------


def a_corrupted_image_is_an_image(part: CorruptionPart, x_BCHW: Tensor) -> None:
    """Checks shape, type and finiteness of corrupted images, and that the clean ones stay as they are."""
    clean = x_BCHW.clone()
    found = part.corrupt(x_BCHW, RowDraws(4, Stream.PRESENTATION))
    expect_equal("the clean images to stay as they are", x_BCHW, clean)
    expect(found.shape == clean.shape, f"images of shape {[*clean.shape]}", [*found.shape])
    expect(found.dtype == clean.dtype, f"images in {clean.dtype}", found.dtype)
    expect_finite("corrupted images", found)


def a_corruption_draws_from_its_source_alone(part: CorruptionPart, x_BCHW: Tensor) -> None:
    """Checks that the same source gives the same images, and that the global generator is not used."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        first = part.corrupt(x_BCHW, RowDraws(4, Stream.PRESENTATION))
        expect(torch.equal(torch.get_rng_state(), before), "the global generator as it was", "another state of it")
    again = part.corrupt(x_BCHW, RowDraws(4, Stream.PRESENTATION))
    expect_equal("the same images from the same source", again, first)


def a_row_is_corrupted_by_its_place(part: CorruptionPart, x_BCHW: Tensor) -> None:
    """Checks that a row's corruption depends on its place, and not on the other rows of a batch."""
    whole = part.corrupt(x_BCHW, RowDraws(4, Stream.PRESENTATION))
    for first in range(1, len(x_BCHW)):
        rest = part.corrupt(x_BCHW[first:], RowDraws(4, Stream.PRESENTATION, first=first))
        expect_equal("a row to be corrupted as in a larger batch", rest, whole[first:])


CORRUPTION_LAWS = (
    a_corrupted_image_is_an_image,
    a_corruption_draws_from_its_source_alone,
    a_row_is_corrupted_by_its_place,
)


def pixels(shape: tuple[int, int, int]) -> Tensor:
    """Returns pixels in [0, 1], [B,C,H,W]."""
    return torch.rand(ROWS, *shape, generator=generator())


# --- regularisers ---------------------------------------------------------------------------------------------------


def a_penalty_is_a_finite_number_with_gradients(part: RegularizerPart, make: Make) -> None:
    """Checks the penalty of a batch and its gradient in the encoder's parameters, and that it repeats."""
    model = randomised(make(1))
    inputs, reference = examples(model), None
    if part.compares_with_prior:
        drawn = torch.randn(ROWS, model.prior.noise_dim, generator=generator())
        reference = model.sample_prior(drawn, inputs.condition).detach()
    terms = model(inputs, noise(model))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        found = penalty(part, terms, reference, EXAMPLES)
        expect(torch.equal(torch.get_rng_state(), before), "the global generator as it was", "another state of it")
    expect(found.ndim == 0, "a number", f"a tensor of shape {[*found.shape]}")
    expect_finite("the penalty", found)
    expect_equal("two calls to give the same", penalty(part, terms, reference, EXAMPLES), found)
    if not found.requires_grad:
        raise Broken("expected a penalty with a gradient, got one that is computed without")
    encoder = [*model.encoder.parameters()]
    slopes = torch.autograd.grad(found, encoder, allow_unused=True)
    expect(any(slope is not None and slope.any() for slope in slopes), "a gradient in the encoder", "none")
    for slope in slopes:
        if slope is not None:
            expect_finite("the gradient of the penalty", slope)
