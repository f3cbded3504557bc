"""Importance sampling and bounds against the exact evidence of a linear-Gaussian model (probabilistic PCA).

Shapes: N and B examples, D values of one, L latent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from tests.vae.ppca import LATENT, SHAPE, SIGMA, VALUES, LinearDecoder, LinearEncoder, build
from vae.config import ObjectiveConfig
from vae.draws import RowDraws
from vae.inference import importance
from vae.model import VAE
from vae.parts.bounds.bound import bound_loss
from vae.parts.likelihoods.gaussian import GaussianFamily
from vae.parts.likelihoods.likelihood import ImageLikelihood
from vae.parts.likelihoods.location_scale import LearnedScale, anywhere
from vae.parts.posteriors.flow import FlowPosterior
from vae.parts.priors.gaussian_mixture import GaussianMixture
from vae.parts.terms import Inputs
from vae.seeds import Stream


def examples(rows: int = 16) -> Tensor:
    return build().evidence.sample((rows,)).view(rows, *SHAPE)


def condition(labels: Tensor | None) -> Tensor | None:
    return None if labels is None else nn.functional.one_hot(labels, 3).float()


def estimate(model: VAE, inputs: Inputs, num_samples: int, **options: int) -> Tensor:
    draws = RowDraws(1, Stream.EVALUATION)
    return importance.log_likelihood(model, inputs, num_samples=num_samples, draws=draws, **options)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Of draws from torch.distributions, which take no generator."""
    torch.manual_seed(0)


# --- the estimate ---------------------------------------------------------------------------------------------------


def test_exact_posterior_gives_the_exact_evidence_with_one_draw() -> None:
    """With q(z|x) = p(z|x) every weight is p(x): one draw is exact, and so are a hundred."""
    ppca, x = build(), examples()
    exact = ppca.evidence.log_prob(x.flatten(1))
    for num_samples in (1, 100):
        torch.testing.assert_close(estimate(ppca.model, Inputs(x), num_samples), exact, atol=2e-5, rtol=0)


def test_many_draws_find_the_evidence_under_a_poor_posterior() -> None:
    """Trap, IS-NLL: a posterior 1.5 times too wide still leads to within 0.02 nats of the exact evidence on average."""
    ppca, x = build(gap=0.4), examples()
    error = estimate(ppca.model, Inputs(x), 20_000) - ppca.evidence.log_prob(x.flatten(1))
    assert abs(error.mean()) < 0.02
    assert error.abs().max() < 0.05


def test_other_posteriors_find_the_evidence() -> None:
    """A flow that bends the posterior is a proposal like any other: the estimate is the same evidence."""
    ppca, x = build(gap=1.0, posterior=FlowPosterior(transforms=1, hidden=(4,))), examples()
    error = estimate(ppca.model, Inputs(x), 20_000) - ppca.evidence.log_prob(x.flatten(1))
    assert abs(error.mean()) < 0.02


def test_other_priors_have_their_evidence() -> None:
    """Under a mixture prior p(x) is the mixture of the components' evidences."""
    ppca, x = build(gap=0.4, prior=GaussianMixture(components=3)), examples()
    prior = ppca.model.prior_of().mixture
    weight, components = ppca.weight, prior.components
    noise = SIGMA**2 * torch.eye(VALUES)
    covariances = weight @ torch.diag_embed(components.std().square()) @ weight.T + noise
    each = MultivariateNormal(components.mean @ weight.T, covariances).log_prob(x.flatten(1)[:, None])
    error = estimate(ppca.model, Inputs(x), 20_000) - (each + prior.log_weights).logsumexp(-1)
    assert abs(error.mean()) < 0.05
    assert error.abs().median() < 0.05


def test_missing_values_leave_the_evidence_of_the_others() -> None:
    """Of an example with holes the estimate is log p(x_observed), the marginal of the observed values, as in MIWAE."""
    ppca, x = build(gap=1.0), examples(8)
    observed = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(3)) < 0.6
    found = estimate(ppca.model, Inputs(x.masked_fill(~observed, float("nan")), observed), 50_000)
    for row in range(8):
        there = observed[row].flatten()
        covariance = ppca.evidence.covariance_matrix[there][:, there]
        exact = MultivariateNormal(torch.zeros(len(covariance)), covariance).log_prob(x[row].flatten()[there])
        assert found[row].item() == pytest.approx(exact.item(), abs=0.1)


def test_bound_tightens_with_more_draws() -> None:
    """Trap, IWAE: in expectation the estimate rises with the number of draws and stays below the evidence."""
    ppca, x = build(gap=0.7), examples(1).expand(4096, *SHAPE)
    exact = ppca.evidence.log_prob(x[:1].flatten(1)).item()
    means = [estimate(ppca.model, Inputs(x), k).mean().item() for k in (1, 2, 4, 16)]
    assert means == sorted(means)
    assert means[-1] < exact
    assert means[1] - means[0] > 0.05


def test_one_draw_is_the_elbo_in_expectation() -> None:
    """The mean over many single draws is the bound with its KL in closed form, within 5 standard errors."""
    ppca, x = build(gap=0.7), examples(1).expand(20_000, *SHAPE)
    values = estimate(ppca.model, Inputs(x), 1)
    with torch.no_grad():
        terms = ppca.model(Inputs(x), torch.randn(1, len(x), LATENT))
    elbo = -terms.distortion[0] - terms.rate[0]
    error = (values.mean() - elbo.mean()) / math.sqrt((values.var() + elbo.var()).item() / len(x))
    assert abs(error.item()) < 5


@pytest.mark.parametrize("num_samples", [1, 7, 50])
def test_estimate_does_not_depend_on_the_chunks(num_samples: int) -> None:
    """Decoding fewer latents at once uses the same draws and gives the same; the last chunk may be short."""
    ppca, inputs = build(gap=0.4), Inputs(examples(8))
    whole = estimate(ppca.model, inputs, num_samples)
    for max_rows in (1, 3, 5, 8, 24, 31):
        torch.testing.assert_close(estimate(ppca.model, inputs, num_samples, max_rows=max_rows), whole)


def test_estimate_is_log_mean_exp_of_the_weights() -> None:
    """The value is logsumexp − log k of the model's own weights, not their sum or their mean; 7 draws of 5 examples."""
    ppca, inputs = build(gap=0.4), Inputs(examples(5))
    noise = RowDraws(1, Stream.EVALUATION).next().normal_samples(range(7), range(5), LATENT)
    with torch.no_grad():
        weights = ppca.model(inputs, noise).log_weight.double()
    by_hand = weights.exp().mean(0).log()
    torch.testing.assert_close(estimate(ppca.model, inputs, 7).double(), by_hand, atol=1e-5, rtol=0)


def test_condition_stays_with_its_example() -> None:
    """With several draws at once each example is scored under its own class, as with one draw at a time."""
    model, x = build(gap=0.4, classes=3).model, examples(8)
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1])
    inputs, other = (Inputs(x, condition=condition(each)) for each in (labels, (labels + 1) % 3))
    noise = RowDraws(1, Stream.EVALUATION).next().normal_samples(range(5), range(8), LATENT)
    with torch.no_grad():
        one_by_one = torch.cat([model(inputs, draw[None]).log_weight for draw in noise])
    expected = one_by_one.logsumexp(0) - math.log(5)
    torch.testing.assert_close(estimate(model, inputs, 5), expected)
    assert (estimate(model, other, 5) != expected).all()


@pytest.mark.parametrize("max_rows", [1, 3, 8, 20, 1000])
def test_memory_is_bounded_by_rows(max_rows: int) -> None:
    """At most `max_rows` rows are encoded at once, and at most as many latents decoded, even if a batch has more."""
    ppca, inputs = build(), Inputs(examples(8))
    encoded: list[int] = []
    decoded: list[int] = []
    ppca.model.encoder.register_forward_pre_hook(lambda _, arguments: encoded.append(len(arguments[0])))
    ppca.model.decoder.register_forward_pre_hook(lambda _, arguments: decoded.append(len(arguments[0])))
    estimate(ppca.model, inputs, 10, max_rows=max_rows)
    assert sum(encoded) == 8
    assert sum(decoded) == 80
    assert max(encoded + decoded) <= max_rows


def test_rows_at_once_are_those_of_the_byte_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `max_rows`, a budget in bytes decides how many latents are decoded at once."""
    ppca, inputs = build(), Inputs(examples(8))
    monkeypatch.setattr(importance, "draws_within", lambda model: 5)
    decoded: list[int] = []
    ppca.model.decoder.register_forward_pre_hook(lambda _, arguments: decoded.append(len(arguments[0])))
    estimate(ppca.model, inputs, 3)
    assert sum(decoded) == 24
    assert max(decoded) == 5


# --- training -------------------------------------------------------------------------------------------------------


class Fitted(NamedTuple):
    """A linear VAE that was trained, and the best that any such model can do."""

    model: VAE
    inputs: Inputs
    noise: Tensor
    evidence: float
    """Mean log p(x) at the maximum likelihood of probabilistic PCA, in nats."""


def corners(rows: int) -> Tensor:
    """Noise of mean 0 and covariance I, [2L,B,L]: over it the mean of what is quadratic in z is its exact expectation."""
    each = math.sqrt(LATENT) * torch.cat([torch.eye(LATENT), -torch.eye(LATENT)])
    return each[:, None].expand(-1, rows, -1)


def best_evidence(x_ND: Tensor) -> float:
    """Tipping & Bishop, Probabilistic Principal Component Analysis (1999), eq. 7 and 8: σ² is the mean of the eigenvalues
    that are left out, and the principal directions keep theirs.
    """
    centred = x_ND - x_ND.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x_ND))
    values = torch.cat([values[:-LATENT].mean().expand(VALUES - LATENT), values[-LATENT:]])
    covariance = vectors @ torch.diag(values) @ vectors.T
    return MultivariateNormal(torch.zeros(VALUES), covariance).log_prob(centred).mean().item()


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """Trained from a start far off with every part of it free: encoder, posterior, decoder and σ."""
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(VALUES, VALUES, generator=generator) * torch.tensor([2, 1.5, 0.3, 0.2, 0.2, 0.1])
    x_ND = torch.randn(300, VALUES, generator=generator) @ mixing.T
    x_ND = x_ND - x_ND.mean(0)
    model = build().model
    model.likelihood = ImageLikelihood(GaussianFamily(anywhere, LearnedScale(1.0)), SHAPE)
    model.encoder = LinearEncoder(0.1 * torch.randn(LATENT, VALUES, generator=generator))
    model.decoder = LinearDecoder(0.1 * torch.randn(VALUES, LATENT, generator=generator))
    torch.nn.init.zeros_(model.posterior.head.bias)
    inputs, noise = Inputs(x_ND.view(-1, *SHAPE)), corners(len(x_ND))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=400, line_search_fn="strong_wolfe", tolerance_grad=1e-6)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = bound_loss(model(inputs, noise), ObjectiveConfig(), 1.0).loss
        loss.backward()
        return loss

    optimizer.step(closure)
    return Fitted(model, inputs, noise, best_evidence(x_ND))


@torch.no_grad()
def elbo_of(fitted: Fitted) -> float:
    return -bound_loss(fitted.model(fitted.inputs, fitted.noise), ObjectiveConfig(), 1.0).loss.item()


def test_trained_elbo_is_the_best_evidence(fitted: Fitted) -> None:
    """The optimum's ELBO is probabilistic PCA's maximum likelihood, within 0.02 nats and never above it."""
    assert elbo_of(fitted) == pytest.approx(fitted.evidence, abs=0.02)
    assert elbo_of(fitted) <= fitted.evidence + 1e-4


def test_importance_sampling_of_the_trained_model_is_its_evidence(fitted: Fitted) -> None:
    """At the optimum, where the posterior is exact, few draws give the evidence within 0.02 nats."""
    found = estimate(fitted.model, fitted.inputs, 10).mean().item()
    assert found == pytest.approx(fitted.evidence, abs=0.02)


def test_bounds_of_a_spoilt_posterior_are_ordered(fitted: Fitted) -> None:
    """ELBO ≤ IWAE of 5 ≤ IWAE of 50 ≤ evidence, with gaps, where the encoder is spoilt and the model is not."""
    bias = fitted.model.posterior.head.bias
    assert isinstance(bias, Tensor)
    before = bias.detach().clone()
    try:
        with torch.no_grad():
            bias[LATENT:].add_(0.7)
        bounds = [elbo_of(fitted), *(estimate(fitted.model, fitted.inputs, k).mean().item() for k in (5, 50, 2000))]
    finally:
        bias.data.copy_(before)
    assert bounds == sorted(bounds)
    assert bounds[1] - bounds[0] > 0.1
    assert bounds[-1] == pytest.approx(fitted.evidence, abs=0.02)
