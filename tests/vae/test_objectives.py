"""Objectives: what is minimised, and that β means the same everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vae.config import MLP, Gaussian, ModelConfig
from vae.model import VAE, ExampleSpec
from vae.objectives import elbo_loss

SHAPE = (1, 4, 4)


def build(sigma: float = 0.25) -> VAE:
    config = ModelConfig(
        latent_dim=3, encoder=MLP(hidden=(8,)), likelihood=Gaussian(sigma="fixed", initial_sigma=sigma)
    )
    return VAE(config, ExampleSpec(SHAPE))


def batch(rows: int = 6, samples: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(rows, *SHAPE, generator=generator), torch.randn(samples, rows, 3, generator=generator)


def gradient(model: VAE, beta: float) -> Tensor:
    x, noise = batch()
    loss = elbo_loss(model(x, noise), beta).loss
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_loss_is_distortion_plus_weighted_rate(beta: float) -> None:
    """The loss is the mean over the batch of distortion + β · rate, in nats per example."""
    model = build()
    x, noise = batch(samples=3)
    terms = model(x, noise)
    losses = elbo_loss(terms, beta)
    by_hand = [(-terms.log_likelihood[:, row].mean() + beta * terms.kl[row].sum()).item() for row in range(6)]
    assert losses.loss.item() == pytest.approx(sum(by_hand) / 6, rel=1e-6)
    assert losses.loss.item() == pytest.approx(losses.distortion.item() + beta * losses.rate.item(), rel=1e-6)


def test_loss_does_not_depend_on_the_batch_size() -> None:
    """The loss of a batch shown twice is the loss of the batch; that of two halves averages to it."""
    model = build()
    x, noise = batch()
    whole = elbo_loss(model(x, noise), 2.0).loss
    twice = elbo_loss(model(x.repeat(2, 1, 1, 1), noise.repeat(1, 2, 1)), 2.0).loss
    halves = [elbo_loss(model(x[part], noise[:, part]), 2.0).loss for part in (slice(3), slice(3, 6))]
    torch.testing.assert_close(twice, whole)
    torch.testing.assert_close(sum(halves) / 2, whole)


@pytest.mark.parametrize("factor", [0.25, 4.0, 9.0])
def test_beta_against_sigma_keeps_the_gradient_direction(factor: float) -> None:
    """With a fixed σ only β · σ² matters: (β, σ²) → (cβ, σ²/c) multiplies the gradient by c.

    distortion + β · rate = error² / 2σ² + β · rate + constant = (error² / 2 + βσ² · rate) / σ² + constant.
    """
    before = gradient(build(0.3), 2.0)
    after = gradient(build(0.3 / factor**0.5), 2.0 * factor)
    torch.testing.assert_close(after, factor * before, rtol=1e-4, atol=1e-4)


def test_beta_alone_turns_the_gradient() -> None:
    """Without the change of σ the direction does change."""
    cosine = torch.nn.functional.cosine_similarity(gradient(build(0.3), 2.0), gradient(build(0.3), 8.0), dim=0)
    assert cosine.item() < 0.999


def test_beta_zero_gives_the_prior_no_pull() -> None:
    """At β = 0 the rate has no gradient, and it stays finite."""
    model = build()
    x, noise = batch()
    losses = elbo_loss(model(x, noise), 0.0)
    assert torch.equal(losses.loss, losses.distortion)
    assert gradient(model, 0.0).isfinite().all()
