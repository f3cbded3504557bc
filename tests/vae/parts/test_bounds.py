"""Objectives: what is minimised, and that β means the same everywhere.

Shapes: S samples, B batch, L latent.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vae.config import ModelConfig, ObjectiveConfig, parse
from vae.data.schema import ExampleSpec
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.parts.bounds.bound import bound_loss, importance_weighted
from vae.parts.bounds.ciwae import Ciwae
from vae.parts.bounds.iwae import Iwae
from vae.parts.controllers.capacity import Capacity
from vae.parts.controllers.free_bits import FreeBits
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.posteriors.posterior import GaussianPosterior
from vae.parts.priors.gaussian_mixture import GaussianMixture
from vae.parts.priors.standard_normal import StandardNormalPrior
from vae.parts.terms import Inputs, Terms

SHAPE, ROWS, LATENT = (1, 4, 4), 6, 3
ELBO, IWAE = ObjectiveConfig(), ObjectiveConfig(bound=Iwae())


def build(sigma: float = 0.25, **changes: Any) -> VAE:
    likelihood = Gaussian(sigma="fixed", initial_sigma=sigma)
    return VAE(
        ModelConfig(latent_dim=LATENT, encoder=MLP(hidden=(8,)), likelihood=likelihood, **changes), ExampleSpec(SHAPE)
    )


def batch(rows: int = ROWS) -> Inputs:
    return Inputs(torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(7)))


def noise(samples: int = 1, rows: int = ROWS, seed: int = 8) -> Tensor:
    return torch.randn(samples, rows, LATENT, generator=torch.Generator().manual_seed(seed))


def gradient(model: VAE, beta: float) -> Tensor:
    loss = bound_loss(model(batch(), noise()), ELBO, beta).loss
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def terms_of(mean_BL: Tensor, log_std_BL: Tensor | None = None) -> Terms:
    """Terms of posteriors alone, without a likelihood."""
    posterior = GaussianPosterior(mean_BL, torch.zeros_like(mean_BL) if log_std_BL is None else log_std_BL)
    draw = posterior.draw(torch.zeros(1, *mean_BL.shape))
    return Terms(torch.zeros(1, len(mean_BL)), mean_BL, draw, posterior, StandardNormalPrior(mean_BL.shape[1]))


# --- the ELBO -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_loss_is_distortion_plus_weighted_rate(beta: float) -> None:
    """The loss is the mean over the batch of distortion + β · rate, in nats per example."""
    terms = build()(batch(), noise(3))
    losses = bound_loss(terms, ELBO, beta)
    assert terms.kl is not None
    by_hand = [(-terms.log_likelihood[:, row].mean() + beta * terms.kl[0, row].sum()).item() for row in range(ROWS)]
    assert losses.loss.item() == pytest.approx(sum(by_hand) / ROWS, rel=1e-6)
    assert losses.loss.item() == pytest.approx(losses.distortion.item() + beta * losses.rate.item(), rel=1e-6)


@pytest.mark.parametrize("bound", [{"kind": "elbo"}, {"kind": "iwae"}, {"kind": "ciwae"}])
def test_loss_does_not_depend_on_the_batch_size(bound: dict[str, str]) -> None:
    """Trap, reduction: the loss of a batch shown twice is the loss of the batch; that of two halves averages to it."""
    model, config = build(), parse(ObjectiveConfig, {"bound": bound})
    x, drawn = batch().x, noise(3)

    def loss(x: Tensor, drawn: Tensor) -> Tensor:
        return bound_loss(model(Inputs(x), drawn), config, 2.0).loss

    whole = loss(x, drawn)
    torch.testing.assert_close(loss(x.repeat(2, 1, 1, 1), drawn.repeat(1, 2, 1)), whole)
    torch.testing.assert_close((loss(x[:3], drawn[:, :3]) + loss(x[3:], drawn[:, 3:])) / 2, whole)


@pytest.mark.parametrize("factor", [0.25, 4.0, 9.0])
def test_beta_against_sigma_keeps_the_gradient_direction(factor: float) -> None:
    """Trap, β against σ: with a fixed σ only β · σ² matters: (β, σ²) → (cβ, σ²/c) multiplies the gradient by c.

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
    losses = bound_loss(model(batch(), noise()), ELBO, 0.0)
    assert torch.equal(losses.loss, losses.distortion)
    assert gradient(model, 0.0).isfinite().all()


def test_beta_of_each_example_weighs_its_own_rate() -> None:
    """As with MultiRate: a vector of β's gives the mean of distortion + β · rate of each; of equal ones, the scalar's."""
    terms = build()(batch(), noise(2))
    beta_B = torch.tensor([0.1, 0.5, 1.0, 2.0, 5.0, 10.0])
    expected = terms.distortion.mean() + (beta_B * terms.rate[0]).mean()
    torch.testing.assert_close(bound_loss(terms, ELBO, beta_B).loss, expected)
    for config in (ELBO, IWAE):
        alike = bound_loss(terms, config, torch.full((ROWS,), 3.0)).loss
        torch.testing.assert_close(alike, bound_loss(terms, config, 3.0).loss)


# --- importance weighting -------------------------------------------------------------------------------------------


def test_iwae_is_logmeanexp_of_the_weights() -> None:
    """Trap, IWAE: the value is logsumexp − log k over the draws, then the mean over examples; there are 4 and 6."""
    terms = build()(batch(), noise(4))
    by_hand = terms.log_weight.double().exp().mean(0).log()
    torch.testing.assert_close(importance_weighted(terms).double(), by_hand, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(bound_loss(terms, IWAE, 1.0).loss.double(), -by_hand.mean(), rtol=1e-5, atol=1e-4)


def test_iwae_does_not_fall_with_more_draws() -> None:
    """Trap, IWAE: over the same draws in groups of k the mean bound rises with k, by Jensen's inequality for certain."""
    with torch.no_grad():
        log_weight_SB = build()(batch(), noise(64)).log_weight
    means = [
        (log_weight_SB.view(64 // k, k, ROWS).logsumexp(1) - math.log(k)).mean().item()
        for k in (1, 2, 4, 8, 16, 32, 64)
    ]
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.1
    with torch.no_grad():
        terms = build()(batch(), noise(64))
    assert -bound_loss(terms, IWAE, 1.0).loss.item() == pytest.approx(means[-1], rel=1e-5)


def test_iwae_of_one_draw_is_the_elbo() -> None:
    """Trap, IWAE: equal with k = 1 where the rate is of draws, and within 5 standard errors where it is a closed form."""
    terms = build(prior=GaussianMixture(components=3))(batch(), noise(1))
    for beta in (1.0, 3.0):
        torch.testing.assert_close(bound_loss(terms, IWAE, beta).loss, bound_loss(terms, ELBO, beta).loss)
    many, model = Inputs(batch(1).x.expand(20_000, *SHAPE)), build()
    with torch.no_grad():
        terms = model(many, noise(1, 20_000))
    gap = importance_weighted(terms) + terms.distortion[0] + terms.rate[0]
    assert abs(gap.mean() / (gap.std() / math.sqrt(len(gap)))) < 5


def test_ciwae_lies_between() -> None:
    """Mix · ELBO + (1 − mix) · IWAE: at 1 and 0 the two themselves, between them in proportion."""
    terms = build()(batch(), noise(4))
    elbo, iwae = bound_loss(terms, ELBO, 2.0).loss, bound_loss(terms, IWAE, 2.0).loss
    for mix in (0.0, 0.3, 1.0):
        found = bound_loss(terms, ObjectiveConfig(bound=Ciwae(mix=mix)), 2.0).loss
        torch.testing.assert_close(found, mix * elbo + (1 - mix) * iwae)
    assert iwae < elbo


def test_iwae_weighs_the_prior_by_beta() -> None:
    """β multiplies log p(z) − log q(z|x) within each weight; at 0 the weights are the likelihoods."""
    terms = build()(batch(), noise(4))
    expected = -(terms.log_likelihood.logsumexp(0) - math.log(4)).mean()
    torch.testing.assert_close(bound_loss(terms, IWAE, 0.0).loss, expected)


def test_losses_report_distortion_and_rate_of_the_draws() -> None:
    """Whatever the bound, what is logged beside it is the mean distortion and the mean rate."""
    terms = build()(batch(), noise(4))
    for config in (ELBO, IWAE, ObjectiveConfig(bound=Ciwae())):
        losses = bound_loss(terms, config, 2.0)
        torch.testing.assert_close(losses.distortion, -terms.log_likelihood.mean())
        torch.testing.assert_close(losses.rate, terms.rate.mean())


# --- what is made of the rate ---------------------------------------------------------------------------------------


def test_free_bits_clamp_the_mean_of_the_batch() -> None:
    """Trap, free bits: per dimension max(mean KL over the batch, floor); not the mean of what each example is clamped to.

    With σ = 1 the KL is μ²/2: dimension 0 has 0 and 2 nats, dimension 1 has 0.02 and 0.02; the floor is 0.5.
    """
    mean_BL = torch.tensor([[0.0, 0.2], [2.0, 0.2]], requires_grad=True)
    loss = bound_loss(terms_of(mean_BL), ObjectiveConfig(controller=FreeBits(nats=0.5)), 3.0).loss
    assert loss.item() == pytest.approx(3.0 * (1.0 + 0.5), rel=1e-6)
    (found,) = torch.autograd.grad(loss, mean_BL)
    # Above the floor every example has its gradient β μ / B, the one below 0.5 too; below the floor none has.
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    mean_BL = torch.tensor([[0.4], [2.0]], requires_grad=True)
    loss = bound_loss(terms_of(mean_BL), ObjectiveConfig(controller=FreeBits(nats=0.5)), 3.0).loss
    torch.testing.assert_close(torch.autograd.grad(loss, mean_BL)[0], torch.tensor([[0.6], [3.0]]))


@pytest.mark.parametrize(("capacity", "sign"), [(0.5, 1.0), (4.0, -1.0)])
def test_capacity_turns_the_gradient_at_c(capacity: float, sign: float) -> None:
    """Trap, capacity: β · |mean rate − C| pulls the rate down above C and up below it. The mean rate is 1 nat."""
    mean_BL = torch.tensor([[0.0, 0.0], [2.0, 0.0]], requires_grad=True)
    config = ObjectiveConfig(controller=Capacity())
    loss = bound_loss(terms_of(mean_BL), config, 3.0, capacity).loss
    assert loss.item() == pytest.approx(3.0 * abs(1.0 - capacity), rel=1e-6)
    torch.testing.assert_close(torch.autograd.grad(loss, mean_BL)[0], sign * torch.tensor([[0.0, 0.0], [3.0, 0.0]]))


def test_capacity_is_of_the_mean_rate() -> None:
    """Rates of 0 and 2 nats meet a capacity of 1: the loss is 0, not the mean distance of 1."""
    terms = terms_of(torch.tensor([[0.0], [2.0]]))
    assert bound_loss(terms, ObjectiveConfig(controller=Capacity()), 3.0, 1.0).loss.item() == 0.0


@pytest.mark.parametrize("controller", [Capacity(), FreeBits(nats=0.01)])
def test_ciwae_takes_the_controllers_rate(controller: Capacity | FreeBits) -> None:
    """In the ELBO's part of CIWAE the controller has its say; IWAE's part is as without."""
    terms = build()(batch(), noise(4))
    with_controller, without = ObjectiveConfig(controller=controller), ObjectiveConfig()
    found = bound_loss(terms, ObjectiveConfig(bound=Ciwae(mix=0.3), controller=controller), 2.0, 1.5).loss
    expected = 0.3 * bound_loss(terms, with_controller, 2.0, 1.5).loss + 0.7 * bound_loss(terms, IWAE, 2.0).loss
    torch.testing.assert_close(found, expected)
    if isinstance(controller, Capacity):
        assert not torch.equal(bound_loss(terms, with_controller, 2.0, 1.5).loss, bound_loss(terms, without, 2.0).loss)
