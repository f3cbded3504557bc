"""Likelihoods: each is a density, and grey pixels become binary only by a policy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vae.config import Bernoulli, Gaussian, Likelihood
from vae.errors import DataError
from vae.likelihoods import (
    LOG_SIGMA_FLOOR,
    GaussianLikelihood,
    binarization,
    binarize,
    build_likelihood,
    check_binary,
    to_examples,
)

GAUSSIANS = [Gaussian(sigma=sigma, initial_sigma=scale) for sigma in ("fixed", "learned") for scale in (0.1, 1.5)]
LIKELIHOODS: list[Likelihood] = [Bernoulli(), *GAUSSIANS]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bernoulli_sums_to_one() -> None:
    """Over all 2⁶ binary images the probabilities sum to 1 at each of several outputs."""
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6))).view(-1, 1, 2, 3)
    outputs = 3 * torch.randn(4, 1, 1, 2, 3, generator=generator())
    log_prob = build_likelihood(Bernoulli()).log_prob(images, outputs.expand(4, 64, 1, 2, 3))
    torch.testing.assert_close(log_prob.logsumexp(1), torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", GAUSSIANS)
def test_gaussian_integrates_to_one(config: Gaussian) -> None:
    """The density of one pixel integrates to 1 over the real line, for any output and σ."""
    grid = torch.linspace(-12, 13, 200_001)
    outputs = torch.tensor([-2.0, 0.0, 5.0]).view(3, 1, 1, 1, 1).expand(3, len(grid), 1, 1, 1)
    with torch.no_grad():
        density = build_likelihood(config).log_prob(grid.view(-1, 1, 1, 1), outputs).double().exp()
    torch.testing.assert_close(torch.trapezoid(density, grid.double()), torch.ones(3).double(), atol=1e-5, rtol=0)


def test_gaussian_matches_torch_distributions() -> None:
    """The density of whole images agrees with an independent implementation."""
    likelihood = GaussianLikelihood(Gaussian(initial_sigma=0.3))
    x, outputs = torch.rand(5, 3, 4, 2), torch.randn(2, 5, 3, 4, 2)
    reference = torch.distributions.Normal(outputs.sigmoid(), 0.3).log_prob(x).sum((2, 3, 4))
    torch.testing.assert_close(likelihood.log_prob(x, outputs), reference)


def test_bernoulli_is_finite_at_certain_logits() -> None:
    """Logits form: a confident wrong answer costs its logit, not infinity, and has a gradient."""
    outputs = torch.full((1, 1, 1, 1, 2), 200.0, requires_grad=True)
    log_prob = build_likelihood(Bernoulli()).log_prob(torch.zeros(1, 1, 1, 2), outputs)
    assert log_prob.item() == pytest.approx(-400.0)
    log_prob.sum().backward()
    assert outputs.grad is not None
    assert torch.equal(outputs.grad, -torch.ones_like(outputs))


@pytest.mark.parametrize("config", LIKELIHOODS)
def test_log_prob_sums_over_pixels(config: Likelihood) -> None:
    """Twice the image area at equal per-pixel error is twice the distortion."""
    likelihood = build_likelihood(config)
    x, outputs = torch.rand(3, 2, 4, 4).round(), torch.randn(2, 3, 2, 4, 4)
    once, twice = (
        likelihood.log_prob(x, outputs),
        likelihood.log_prob(x.tile(1, 1, 2, 1), outputs.tile(1, 1, 1, 2, 1)),
    )
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize("config", LIKELIHOODS)
def test_log_prob_is_float32_from_bfloat16(config: Likelihood) -> None:
    """Densities of a bf16 network are summed in float32."""
    outputs = torch.randn(1, 2, 1, 4, 4).bfloat16()
    likelihood = build_likelihood(config)
    x = torch.rand(2, 1, 4, 4).round()
    log_prob = likelihood.log_prob(x, outputs)
    assert log_prob.dtype == torch.float32
    assert torch.equal(log_prob, likelihood.log_prob(x, outputs.float()))


@pytest.mark.parametrize("config", LIKELIHOODS)
def test_sample_has_the_mean_it_announces(config: Likelihood) -> None:
    """The average of many draws is the mean, within 5 standard errors."""
    likelihood = build_likelihood(config)
    outputs = torch.tensor([-3.0, 0.0, 1.0]).view(1, 1, 1, 3).expand(40_000, 1, 1, 3)
    with torch.no_grad():
        draws = likelihood.sample(outputs, generator()).view(-1, 3)
        error = (draws.mean(0) - likelihood.mean(outputs)[0].view(3)) / (draws.std(0) / math.sqrt(len(draws)))
    assert error.abs().max() < 5


@pytest.mark.parametrize("sigma", [0.05, 0.25, 1.0, 3.0])
def test_learned_sigma_starts_where_it_is_told(sigma: float) -> None:
    """A learned σ is `initial_sigma` before training, and has a gradient."""
    likelihood = GaussianLikelihood(Gaussian(initial_sigma=sigma))
    assert likelihood.log_sigma().exp().item() == pytest.approx(sigma, rel=1e-5)
    (slope,) = torch.autograd.grad(likelihood.log_sigma(), list(likelihood.parameters()))
    assert 0 < slope.item() <= 1


def test_learned_sigma_has_a_floor() -> None:
    """However far training pushes it, σ stays above e⁻⁶."""
    likelihood = GaussianLikelihood(Gaussian())
    with torch.no_grad():
        likelihood.raw_log_sigma.fill_(-1e6)
    assert likelihood.log_sigma().item() == LOG_SIGMA_FLOOR


def test_fixed_sigma_is_not_trained() -> None:
    """A fixed σ is no parameter, yet part of the state."""
    likelihood = GaussianLikelihood(Gaussian(sigma="fixed"))
    assert not list(likelihood.parameters())
    assert set(likelihood.state_dict()) == {"raw_log_sigma"}


def test_binarize_keeps_black_and_white() -> None:
    """0 is always drawn 0 and 255 always 1."""
    pixels = torch.tensor([0, 255], dtype=torch.uint8).repeat(100_000)
    assert torch.equal(binarize(pixels, generator()), pixels / 255)


@pytest.mark.parametrize("grey", [1, 63, 128, 254])
def test_binarize_draws_grey_as_often_as_it_is_bright(grey: int) -> None:
    """A grey value g is drawn 1 with frequency g / 255, within 5 standard errors."""
    drawn = binarize(torch.full((200_000,), grey, dtype=torch.uint8), generator(grey))
    p = grey / 255
    assert drawn.mean().item() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / len(drawn)))


def test_to_examples_draws_anew_only_where_dynamic() -> None:
    """Dynamic targets are binary and differ between draws; the others are pixels / 255 and take no draw."""
    pixels = torch.randint(256, (8, 1, 4, 4), generator=generator()).to(torch.uint8)

    def two_draws(config: Likelihood) -> tuple[Tensor, Tensor]:
        return to_examples(pixels, config, generator(1)), to_examples(pixels, config, generator(2))

    first, second = two_draws(Bernoulli(binarization="dynamic"))
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)
    for config in (Bernoulli(binarization="static"), Bernoulli(binarization="none"), Gaussian()):
        first, second = two_draws(config)
        assert torch.equal(first, second)
        torch.testing.assert_close(first, pixels / 255)


def test_binarization_is_a_policy_of_bernoulli_alone() -> None:
    """A Gaussian takes grey pixels as they are."""
    assert binarization(Bernoulli(binarization="static")) == "static"
    assert binarization(Gaussian()) is None


def test_bernoulli_refuses_grey_without_a_policy() -> None:
    """Grey pixels are counted and refused, with what to set; binary ones pass."""
    check_binary(np.array([[0, 255]], np.uint8), "here")
    with pytest.raises(DataError) as error:
        check_binary(np.array([[0, 255, 3], [254, 0, 0]], np.uint8), "digits, train rows 0 to 2")
    assert str(error.value) == (
        "digits, train rows 0 to 2: 2 of 6 pixels are neither 0 nor 255, and a Bernoulli likelihood "
        "has no density for grey; set model.likelihood.binarization to `dynamic` or `static`, or use a "
        "gaussian likelihood"
    )
