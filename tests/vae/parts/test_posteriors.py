"""Posteriors one by one: what holds for a single kind. What holds for all is in `tests/laws/test_posterior_laws.py`."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from vae.config import ModelConfig
from vae.parts.distributions import Gaussian
from vae.parts.posteriors.ladder import LadderPosterior, _merge
from vae.parts.posteriors.posterior import GaussianPosterior
from vae.parts.posteriors.student_t import LEAST_DEGREES_OF_FREEDOM, StudentT, StudentTPosteriorModule
from vae.parts.priors.hierarchical import HierarchicalPrior, HierarchicalPriorModule

DRAWS = 20_000


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Of weights of modules that are made alone; a model has a seed of its own."""
    torch.manual_seed(0)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def student_t(degrees: float, mean: float = 0.0, log_scale: float = 0.0) -> StudentT:
    return StudentT(*(torch.full((1, 1), value) for value in (mean, log_scale, degrees)))


def test_gaussian_draws_and_density_match_torch_distributions() -> None:
    """Z = μ + σ·ε, and log q of it is an independent implementation's."""
    mean, log_std, noise = normal(3, 4), normal(3, 4, seed=1), normal(5, 3, 4, seed=2)
    posterior = GaussianPosterior(mean, log_std)
    draw = posterior.draw(noise)
    expected = torch.distributions.Normal(mean, log_std.exp())
    torch.testing.assert_close(draw.z, mean + log_std.exp() * noise)
    torch.testing.assert_close(draw.log_prob(), expected.log_prob(draw.z).sum(-1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(posterior.log_prob(draw.z), draw.log_prob(), rtol=1e-4, atol=1e-4)


def test_gaussian_kl_matches_torch_distributions() -> None:
    """Of each dimension, between any two Gaussians, and 0 of one with itself."""
    q, p = Gaussian(normal(3, 4), normal(3, 4, seed=1)), Gaussian(normal(3, 4, seed=2), normal(3, 4, seed=3))
    q_, p_ = (torch.distributions.Normal(each.mean, each.std()) for each in (q, p))
    torch.testing.assert_close(q.kl(p), torch.distributions.kl_divergence(q_, p_), rtol=1e-4, atol=1e-5)
    assert (q.kl(q) == 0).all()


@pytest.mark.parametrize("degrees", [2.5, 3.1, 5.0, 10.0, 100.0])
def test_student_t_draws_are_student_t(degrees: float) -> None:
    """Bailey's polar method: draws pass a Kolmogorov-Smirnov test against scipy's Student t, location and scale too."""
    draws = student_t(degrees, 1.5, -0.7).draw(normal(DRAWS, 1, 2)).z.flatten().double().numpy()
    assert stats.kstest(draws, stats.t(degrees, 1.5, math.exp(-0.7)).cdf).pvalue > 0.01
    assert stats.kstest(draws, stats.t(degrees + 0.3 * degrees, 1.5, math.exp(-0.5)).cdf).pvalue < 1e-6


@pytest.mark.parametrize("degrees", [2.5, 5.0, 100.0])
def test_student_t_density_is_scipys(degrees: float) -> None:
    """Log q(z|x) of draws, far ones included."""
    draw = student_t(degrees, 1.5, -0.7).draw(3 * normal(50, 1, 2))
    expected = stats.t(degrees, 1.5, math.exp(-0.7)).logpdf(draw.z.double().numpy()).sum(-1)
    torch.testing.assert_close(draw.log_prob().double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-3)


def test_student_t_std_is_scipys() -> None:
    """√(ν / (ν − 2)) times the scale."""
    expected = stats.t(5.0, 1.5, math.exp(-0.7)).std()
    assert student_t(5.0, 1.5, -0.7).std().item() == pytest.approx(expected, rel=1e-6)


def test_student_t_draws_have_the_gradient_of_finite_differences() -> None:
    """Draws are smooth in location, scale and degrees of freedom, so that all three learn."""
    noise = normal(4, 1, 4).double()
    parameters = [torch.full((1, 2), value, dtype=torch.double, requires_grad=True) for value in (0.3, -0.5, 4.0)]

    def draw(*parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = StudentT(*parameters).draw(noise)
        return drawn.z, drawn.log_prob()

    assert torch.autograd.gradcheck(draw, parameters)


def test_student_t_has_a_finite_variance() -> None:
    """Whatever the encoder says, there are more degrees of freedom than 3, and the standard deviation is finite."""
    module = StudentTPosteriorModule(2, 3)
    torch.nn.init.zeros_(module.head.weight)
    torch.nn.init.constant_(module.head.bias[6:], -1000.0)
    posterior = module(torch.ones(4, 2), lambda: None)
    torch.testing.assert_close(posterior.degrees, torch.full((4, 3), LEAST_DEGREES_OF_FREEDOM))
    torch.testing.assert_close(posterior.std(), posterior.log_scale.exp() * math.sqrt(3))


def test_merge_is_the_product_of_densities() -> None:
    """A ladder's group is q̂ · p, normalised: on a grid the log densities add up to a constant more."""
    inferred = Gaussian(torch.tensor([0.5]), torch.tensor([-0.3]))
    prior = Gaussian(torch.tensor([-1.0]), torch.tensor([0.4]))
    grid = torch.linspace(-3, 3, 50)[:, None]
    gap = inferred.log_prob(grid) + prior.log_prob(grid) - _merge(inferred, prior).log_prob(grid)
    torch.testing.assert_close(gap, gap[:1].expand(50), rtol=1e-4, atol=1e-4)


def test_ladder_without_evidence_is_the_prior() -> None:
    """Where the features say nothing (a wide q̂), every group is the prior's and the rate is 0."""
    config = ModelConfig(latent_dim=4, posterior=LadderPosterior(hidden=8), prior=HierarchicalPrior(hidden=8))
    module, prior = config.posterior.build(3, config.latent_dim, config.prior), HierarchicalPriorModule(2, 8, 4)
    for group in module.groups:
        torch.nn.init.zeros_(group[-1].weight)
        torch.nn.init.constant_(group[-1].bias, 20.0)
    draw = module(torch.ones(2, 3), lambda: prior).draw(normal(5, 2, 4), prior)
    kl = prior.kl(None, draw)
    assert kl is not None
    torch.testing.assert_close(kl, torch.zeros(5, 2, 4), atol=1e-5, rtol=0)


def test_new_ladder_draws_near_its_means() -> None:
    """What the features say shows in the draws from the first step on: the noise of a draw has a scale of e⁻²."""
    config = ModelConfig(latent_dim=4, posterior=LadderPosterior(hidden=8), prior=HierarchicalPrior(hidden=8))
    module, prior = config.posterior.build(3, config.latent_dim, config.prior), HierarchicalPriorModule(2, 8, 4)
    std = module(normal(100, 3), lambda: prior).std().mean().item()
    assert std == pytest.approx(math.exp(-2), rel=0.2)


def test_ladder_infers_from_the_top_down() -> None:
    """Other noise of the top group moves the group below; other noise of the lower one leaves the top as it was."""
    config = ModelConfig(latent_dim=4, posterior=LadderPosterior(hidden=8), prior=HierarchicalPrior(hidden=8))
    module, prior = config.posterior.build(3, config.latent_dim, config.prior), HierarchicalPriorModule(2, 8, 4)
    posterior, noise = module(torch.ones(1, 3), lambda: prior), normal(1, 1, 4)
    z, top, bottom = (
        posterior.draw(noise + shift, prior).z[0, 0]
        for shift in (torch.zeros(4), torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.0, 0, 1, 1]))
    )
    assert (top != z).all()
    assert torch.equal(bottom[:2], z[:2])
    assert (bottom[2:] != z[2:]).all()
