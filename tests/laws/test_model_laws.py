"""What every model must obey, whatever it is made of. A new part is one line in one of the lists."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vae.config import ModelConfig, parse
from vae.model import VAE, ExampleSpec
from vae.objectives import elbo_loss
from vae.state import load_model, save_model
from vae.tasks import encode, generate, reconstruct, score

BODIES: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "hidden": [12, 8]},
    "gated mlp": {"kind": "mlp", "hidden": [12], "gated": True},
    "conv": {"kind": "conv", "channels": [4, 6], "hidden": 12},
    "residual conv": {"kind": "conv", "channels": [4], "hidden": 12, "residual_blocks": 1},
}
POSTERIORS: dict[str, dict[str, Any]] = {"diagonal gaussian": {"kind": "diagonal_gaussian"}}
PRIORS: dict[str, dict[str, Any]] = {"standard normal": {"kind": "standard_normal"}}
LIKELIHOODS: dict[str, dict[str, Any]] = {
    "bernoulli": {"kind": "bernoulli", "binarization": "dynamic"},
    "gaussian": {"kind": "gaussian", "sigma": "learned"},
    "fixed gaussian": {"kind": "gaussian", "sigma": "fixed"},
}
CONDITIONS = ("none", "class")

SHAPE, CLASSES, LATENT, ROWS, SAMPLES = (2, 8, 6), ("a", "b", "c"), 3, 5, 2

EVERY_MODEL = pytest.mark.parametrize(
    "parts",
    [
        pytest.param(parts, id=", ".join(parts))
        for parts in itertools.product(BODIES, POSTERIORS, PRIORS, LIKELIHOODS, CONDITIONS)
    ],
)
Parts = tuple[str, str, str, str, str]


def build(parts: Parts) -> VAE:
    body, posterior, prior, likelihood, condition = parts
    config = {
        "latent_dim": LATENT,
        "encoder": BODIES[body],
        "posterior": POSTERIORS[posterior],
        "prior": PRIORS[prior],
        "likelihood": LIKELIHOODS[likelihood],
        "condition": condition,
    }
    return VAE(parse(ModelConfig, config), ExampleSpec(SHAPE, CLASSES), seed=1)


def batch(model: VAE) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(ROWS, *SHAPE, generator=generator).round()
    noise = torch.randn(SAMPLES, ROWS, model.noise_dim, generator=generator)
    return x, noise, torch.arange(ROWS) % len(CLASSES)


@EVERY_MODEL
def test_terms_have_their_shapes(parts: Parts) -> None:
    """Per-example terms come unreduced, in float32: [S,B], and the KL per dimension [B,L]."""
    model = build(parts)
    terms = model(*batch(model))
    assert terms.z.shape == (SAMPLES, ROWS, LATENT)
    assert terms.log_likelihood.shape == terms.distortion.shape == terms.log_weight.shape == (SAMPLES, ROWS)
    assert terms.kl.shape == (ROWS, LATENT)
    assert terms.rate.shape == (ROWS,)
    assert {terms.log_likelihood.dtype, terms.rate.dtype, terms.log_weight.dtype} == {torch.float32}
    assert (terms.rate >= 0).all()


@EVERY_MODEL
def test_every_parameter_gets_a_finite_gradient(parts: Parts) -> None:
    """The loss reaches every parameter, with a gradient that is finite and somewhere not 0."""
    model = build(parts)
    for parameter in model.parameters():  # what starts at 0 on purpose would hide what lies before it
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    elbo_loss(model(*batch(model)), 2.0).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@EVERY_MODEL
def test_loss_does_not_depend_on_the_batch(parts: Parts) -> None:
    """Each example's terms are the same alone, and the loss of two batches averages to that of both."""
    model = build(parts)
    x, noise, labels = batch(model)
    whole = model(x, noise, labels)
    for row in range(ROWS):
        part = slice(row, row + 1)
        alone = model(x[part], noise[:, part], labels[part])
        torch.testing.assert_close(alone.log_weight, whole.log_weight[:, part], rtol=1e-4, atol=1e-4)
    twice = model(x.repeat(2, 1, 1, 1), noise.repeat(1, 2, 1), labels.repeat(2))
    torch.testing.assert_close(elbo_loss(twice, 2.0).loss, elbo_loss(whole, 2.0).loss)


@EVERY_MODEL
def test_twice_the_area_is_twice_the_distortion(parts: Parts) -> None:
    """At equal per-pixel error the distortion grows with the image, so that β keeps its meaning in nats."""
    model = build(parts)
    x, noise, labels = batch(model)
    outputs = model.decode(noise, labels)
    once = model.likelihood.log_prob(x, outputs)
    twice = model.likelihood.log_prob(x.tile(1, 1, 2, 1), outputs.tile(1, 1, 1, 2, 1))
    torch.testing.assert_close(twice, 2 * once)


@EVERY_MODEL
def test_saved_model_is_the_model(parts: Parts, tmp_path: Path) -> None:
    """Saved and loaded, a model gives the same bits."""
    model = build(parts).eval()
    save_model(model, str(tmp_path))
    loaded = load_model(str(tmp_path))
    assert (loaded.config, loaded.examples) == (model.config, model.examples)
    assert torch.equal(loaded(*batch(model)).log_weight, model(*batch(model)).log_weight)


@EVERY_MODEL
def test_condition_is_used_where_there_is_one(parts: Parts) -> None:
    """Other classes change encoder and decoder of a conditional model, and nothing in another."""
    model = build(parts)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    x, noise, labels = batch(model)
    other = (labels + 1) % len(CLASSES)
    changed = parts[-1] == "class"
    assert torch.equal(model.encode(x, labels).mean, model.encode(x, other).mean) is not changed
    assert torch.equal(model.decode(noise, labels), model.decode(noise, other)) is not changed


@EVERY_MODEL
def test_tasks_work_on_every_model(parts: Parts) -> None:
    """Every task gives finite results of its shape."""
    model = build(parts).eval()
    x, _, labels = batch(model)
    images = [
        reconstruct(model, x, labels),
        generate(model, ROWS, labels),
        generate(model, ROWS, labels, output="sample"),
    ]
    assert all(image.shape == x.shape and image.isfinite().all() for image in images)
    code = encode(model, x, labels)
    assert code.mean.shape == code.std.shape == (ROWS, LATENT)
    assert (code.std > 0).all()
    assert score(model, x, labels, num_samples=3).shape == (ROWS,)
