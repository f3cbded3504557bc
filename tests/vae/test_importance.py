"""Importance sampling against the exact evidence of a linear-Gaussian model (probabilistic PCA)."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from vae import importance
from vae.config import MLP, Gaussian, ModelConfig
from vae.likelihoods import GaussianLikelihood
from vae.model import VAE, ExampleSpec

SHAPE = (1, 2, 3)
LATENT = 2
SIGMA = 0.4


class IdentityGaussian(GaussianLikelihood):
    """N(outputs, σ²): the decoder's outputs are the mean, so that a linear one makes a linear model."""

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs


class Linear(nn.Module):
    """A linear body, which takes part of the condition too: class c moves the mean by c."""

    def __init__(self, weight: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.shape = shape

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        y = x.flatten(1) @ self.weight.T
        if condition is not None:
            y = y + condition.argmax(1, keepdim=True)
        return y.unflatten(1, self.shape)


class Ppca(NamedTuple):
    """x = W z + y + ε: the model, and its evidence in closed form."""

    model: VAE
    evidence: torch.distributions.MultivariateNormal


def build(gap: float = 0.0, classes: int = 0) -> Ppca:
    """A VAE with a linear decoder, the exact posterior mean, and `gap` too much in each log standard deviation.

    W has orthogonal columns, so that the exact posterior is diagonal: without a gap every weight is p(x).
    """
    generator = torch.Generator().manual_seed(0)
    W = torch.linalg.qr(torch.randn(6, LATENT, generator=generator)).Q * torch.tensor([1.5, 0.8])
    names = tuple(str(c) for c in range(classes)) or None
    config = ModelConfig(
        latent_dim=LATENT,
        encoder=MLP(hidden=(LATENT,)),
        likelihood=Gaussian(sigma="fixed", initial_sigma=SIGMA),
        condition="class" if classes else "none",
    )
    model = VAE(config, ExampleSpec(SHAPE, names)).eval()
    precision = 1 + W.square().sum(0) / SIGMA**2
    model.likelihood = IdentityGaussian(Gaussian(sigma="fixed", initial_sigma=SIGMA))
    model.decoder = Linear(W, SHAPE)
    model.encoder = Linear(W.T / SIGMA**2 / precision[:, None], (LATENT,))
    head = model.posterior.head
    with torch.no_grad():
        head.weight.copy_(torch.cat([torch.eye(LATENT), torch.zeros(LATENT, LATENT)]))
        head.bias.copy_(torch.cat([torch.zeros(LATENT), -0.5 * precision.log() + gap]))
    covariance = W @ W.T + SIGMA**2 * torch.eye(6)
    return Ppca(model, torch.distributions.MultivariateNormal(torch.zeros(6), covariance))


def examples(rows: int = 16) -> Tensor:
    return build().evidence.sample((rows,)).view(rows, *SHAPE)


def estimate(model: VAE, x: Tensor, num_samples: int, labels: Tensor | None = None, **options: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return importance.log_likelihood(model, x, labels, num_samples=num_samples, generator=generator, **options)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_exact_posterior_gives_the_exact_evidence_with_one_draw() -> None:
    """With q(z|x) = p(z|x) every weight is p(x): one draw is exact, and so are a hundred."""
    ppca, x = build(), examples()
    exact = ppca.evidence.log_prob(x.flatten(1))
    for num_samples in (1, 100):
        torch.testing.assert_close(estimate(ppca.model, x, num_samples), exact, atol=2e-5, rtol=0)


def test_many_draws_find_the_evidence_under_a_poor_posterior() -> None:
    """A posterior 1.5 times too wide still leads to the exact evidence with 20,000 draws."""
    ppca, x = build(gap=0.4), examples()
    exact = ppca.evidence.log_prob(x.flatten(1))
    torch.testing.assert_close(estimate(ppca.model, x, 20_000), exact, atol=0.03, rtol=0)


def test_bound_tightens_with_more_draws() -> None:
    """In expectation the estimate rises with the number of draws and stays below the evidence."""
    ppca, x = build(gap=0.7), examples(1).expand(4096, *SHAPE)
    exact = ppca.evidence.log_prob(x[:1].flatten(1)).item()
    means = [estimate(ppca.model, x, k).mean().item() for k in (1, 2, 4, 16)]
    assert means == sorted(means)
    assert means[-1] < exact
    assert means[1] - means[0] > 0.05


def test_one_draw_is_the_elbo_in_expectation() -> None:
    """The mean over many single draws is the bound with its KL in closed form, within 5 standard errors."""
    ppca, x = build(gap=0.7), examples(1).expand(20_000, *SHAPE)
    values = estimate(ppca.model, x, 1)
    with torch.no_grad():
        terms = ppca.model(x, torch.randn(1, len(x), LATENT))
    elbo = -terms.distortion[0] - terms.rate
    error = (values.mean() - elbo.mean()) / math.sqrt((values.var() + elbo.var()).item() / len(x))
    assert abs(error.item()) < 5


@pytest.mark.parametrize("num_samples", [1, 7, 50])
def test_estimate_does_not_depend_on_the_chunks(num_samples: int) -> None:
    """Decoding fewer latents at once uses the same draws and gives the same; the last chunk may be short.

    Torch draws normal numbers in blocks of 16, so 8 examples of 2 latents keep the stream whole.
    """
    ppca, x = build(gap=0.4), examples(8)
    whole = estimate(ppca.model, x, num_samples)
    for max_rows in (1, 8, 24, 31):
        torch.testing.assert_close(estimate(ppca.model, x, num_samples, max_rows=max_rows), whole)


def test_estimate_is_log_mean_exp_of_the_weights() -> None:
    """The value is logsumexp − log k of the model's own weights, not their sum or their mean."""
    ppca, x = build(gap=0.4), examples(5)
    noise = torch.randn(7, 5, LATENT, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        weights = ppca.model(x, noise).log_weight.double()
    by_hand = weights.exp().mean(0).log()
    torch.testing.assert_close(estimate(ppca.model, x, 7).double(), by_hand, atol=1e-5, rtol=0)


def test_condition_stays_with_its_example() -> None:
    """With several draws at once each example is scored under its own class, as with one draw at a time."""
    model, x = build(gap=0.4, classes=3).model, examples(8)
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1])
    noise = torch.randn(5, 8, LATENT, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one_by_one = torch.cat([model(x, draw[None], labels).log_weight for draw in noise])
    expected = one_by_one.logsumexp(0) - math.log(5)
    torch.testing.assert_close(estimate(model, x, 5, labels), expected)
    assert (estimate(model, x, 5, (labels + 1) % 3) != expected).all()


@pytest.mark.parametrize("max_rows", [1, 8, 20, 1000])
def test_memory_is_bounded_by_rows(max_rows: int) -> None:
    """At most `max_rows` latents are decoded at once, or one for each example where it asks for less."""
    ppca, x = build(), examples(8)
    decoded: list[int] = []
    ppca.model.decoder.register_forward_pre_hook(lambda _, inputs: decoded.append(len(inputs[0])))
    estimate(ppca.model, x, 10, max_rows=max_rows)
    assert sum(decoded) == 80
    assert max(decoded) <= max(max_rows, 8)
