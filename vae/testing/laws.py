"""Laws of every model, whatever it is made of.

Shapes: S samples, B batch, L latent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from vae.config import ModelConfig, ObjectiveConfig, parse
from vae.parts.bounds.bound import bound_loss
from vae.parts.terms import Inputs, Terms
from vae.testing.expecting import expect, expect_close, expect_equal, expect_finite, expect_shape
from vae.testing.models import ROWS, SAMPLES, Make, examples, gradients, noise, randomised
from vae.training.state import load_model, save_model

OBJECTIVE = ObjectiveConfig(beta=2.0)


def loss_of(terms: Terms) -> Tensor:
    """Returns the loss at β = 2."""
    return bound_loss(terms, OBJECTIVE, OBJECTIVE.beta).loss


def the_written_configuration_is_read_back(make: Make) -> None:
    """Checks that the configuration as JSON gives the same configuration."""
    config = make(1).config
    read = parse(ModelConfig, json.loads(json.dumps(config.model_dump(mode="json"))))
    expect(read == config, f"{config}", read)


def the_seed_alone_gives_the_weights(make: Make) -> None:
    """Checks that the same seed gives the same weights, another one others, and that the global generator is not used."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        first = make(1).state_dict()
        expect(torch.equal(torch.get_rng_state(), before), "the global generator as it was", "another state of it")
        torch.manual_seed(4)
        for name, value in make(1).state_dict().items():
            expect_equal(f"{name} to depend on the seed alone", value, first[name])
        others = make(2).state_dict()
    expect(any(not torch.equal(others[name], value) for name, value in first.items()), "other weights", "the same")


def terms_have_their_shapes(make: Make) -> None:
    """Checks that terms come unreduced, in float32: [S,B], and the KL [1 or S,B,L], of codes one for each piece."""
    model = make(1)
    terms, latent_dim = model(examples(model), noise(model)), model.config.latent_dim
    expect_shape("z", terms.z, (SAMPLES, ROWS, latent_dim))
    for name in ("log_likelihood", "distortion", "log_weight"):
        expect_shape(name, getattr(terms, name), (SAMPLES, ROWS))
    expect_shape("rate", terms.rate, (SAMPLES, ROWS), (1, ROWS))
    if terms.kl is not None:
        pieces = model.config.posterior.num_pieces(latent_dim)
        expect_shape("kl", terms.kl, (SAMPLES, ROWS, pieces), (1, ROWS, pieces))
        expect((terms.kl >= 0).all(), "a KL divergence of at least 0", terms.kl.min().item())


def terms_are_finite(make: Make) -> None:
    """Checks the terms of new weights, and of random ones."""
    for model in (make(1), randomised(make(1))):
        terms = model(examples(model), noise(model))
        for name in ("z", "log_likelihood", "rate", "log_weight"):
            expect_finite(name, getattr(terms, name))


def every_parameter_gets_a_finite_gradient(make: Make) -> None:
    """Checks that the loss reaches every parameter, with a gradient that is finite and somewhere not 0."""
    model = randomised(make(1))
    every = gradients(model, loss_of(model(examples(model), noise(model))))
    unreached = [name for name, gradient in every.items() if gradient is None or not gradient.any()]
    expect(not unreached, "a gradient of every parameter", f"none of {', '.join(unreached)}")
    for name, gradient in every.items():
        assert gradient is not None
        expect_finite(f"the gradient of {name}", gradient)


def terms_do_not_depend_on_the_batch(make: Make) -> None:
    """Checks that each example's terms are the same alone, and that the loss of a batch shown twice is its loss."""
    model = randomised(make(1))
    inputs, drawn = examples(model), noise(model)
    whole = model(inputs, drawn)
    for row in range(ROWS):
        part = slice(row, row + 1)
        alone = model(inputs.take(part), drawn[:, part])
        for name in ("log_weight", "rate"):
            what = f"the {name} of a row to be the same alone as in a batch"
            expect_close(what, getattr(alone, name), getattr(whole, name)[:, part])
    both = [None if field is None else torch.cat([field, field]) for field in inputs]
    twice = Inputs(torch.cat([inputs.x, inputs.x]), *both[1:])
    loss = loss_of(model(twice, drawn.repeat(1, 2, 1)))
    expect_close("the loss of a batch shown twice to be its loss", loss, loss_of(whole))


def noise_is_the_only_randomness(make: Make) -> None:
    """Checks that the same noise gives the same bits, other noise others; and that the global generator is not used."""
    model = randomised(make(1))
    inputs = examples(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        first = model(inputs, noise(model))
        weights, rate = first.log_weight, first.rate
        expect(torch.equal(torch.get_rng_state(), before), "the global generator as it was", "another state of it")
        torch.manual_seed(1)
        again = model(inputs, noise(model))
        expect_equal("two calls with the same noise to give the same", again.log_weight, weights)
        expect_equal("two calls with the same noise to give the same rate", again.rate, rate)
    if not model.has_codes:
        other = model(inputs, noise(model, seed=9)).log_weight
        expect(not torch.equal(other, weights), "other terms from other noise", "the same")


def a_saved_model_is_the_model(make: Make) -> None:
    """Checks that a model gives the same bits after it was saved and loaded."""
    model = randomised(make(1))
    with TemporaryDirectory() as folder:
        save_model(model, folder)
        loaded = load_model(folder)
    expect(loaded.config == model.config, f"{model.config}", loaded.config)
    expect(loaded.examples == model.examples, f"{model.examples}", loaded.examples)
    before, after = (each(examples(each), noise(each)) for each in (model, loaded))
    expect_equal("the same terms after a model was saved and loaded", after.log_weight, before.log_weight)
    expect_equal("the same rate after a model was saved and loaded", after.rate, before.rate)


MODEL_LAWS: tuple[Callable[[Make], None], ...] = (
    the_written_configuration_is_read_back,
    the_seed_alone_gives_the_weights,
    terms_have_their_shapes,
    terms_are_finite,
    every_parameter_gets_a_finite_gradient,
    terms_do_not_depend_on_the_batch,
    noise_is_the_only_randomness,
    a_saved_model_is_the_model,
)
