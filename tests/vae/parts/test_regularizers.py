"""Regularisers: estimates against closed forms on Gaussian toys, and what their gradients reach.

Shapes: B batch, L latent, N examples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from vae.parts.posteriors.posterior import GaussianPosterior
from vae.parts.priors.standard_normal import StandardNormalPrior
from vae.parts.regularizers import RegularizerConfig
from vae.parts.regularizers.adversary import Adversary
from vae.parts.regularizers.dip import Dip, disentangled_inferred_prior
from vae.parts.regularizers.mmd import Mmd, maximum_mean_discrepancy
from vae.parts.regularizers.regularizer import penalty
from vae.parts.regularizers.total_correlation import TotalCorrelation, stratified_log_weights, total_correlation
from vae.parts.terms import Terms

LATENT, CORRELATION, STD, EXAMPLES = 5, 0.855, 0.1, 10_000


class Toy(NamedTuple):
    """N posteriors N(μ_n, 0.1² I) whose aggregate is N(0, Σ), with Σ of ones on the diagonal and 0.855 beside it.

    Its total correlation is −½ log det Σ = 3.11 nats.
    """

    means: Tensor
    """[N,L]"""
    exact: float

    @classmethod
    def make(cls) -> Toy:
        covariance = torch.full((LATENT, LATENT), CORRELATION).fill_diagonal_(1.0)
        factor = torch.linalg.cholesky(covariance - STD**2 * torch.eye(LATENT))
        return cls(normal(EXAMPLES, LATENT) @ factor.T, -0.5 * torch.logdet(covariance).item())

    def batch(self, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws, means and log standard deviations of some examples, [B,L]."""
        generator = torch.Generator().manual_seed(seed)
        mean_BL = self.means[torch.randperm(len(self.means), generator=generator)[:size]]
        z_BL = mean_BL + STD * torch.randn(mean_BL.shape, generator=generator)
        return z_BL, mean_BL, torch.full_like(mean_BL, math.log(STD))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def terms_of(mean_BL: Tensor, log_std_BL: Tensor, seed: int = 0) -> Terms:
    posterior = GaussianPosterior(mean_BL, log_std_BL)
    draw = posterior.draw(normal(2, *mean_BL.shape, seed=seed))
    return Terms(torch.zeros(2, len(mean_BL)), mean_BL, draw, posterior, StandardNormalPrior(mean_BL.shape[1]))


# --- total correlation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "repeats", "expected", "tolerance"), [(64, 60, 3.5, 0.3), (512, 8, 3.1, 0.2)])
def test_total_correlation_of_the_toy(batch: int, repeats: int, expected: float, tolerance: float) -> None:
    """Trap, TC: of 3.11 nats the estimate finds about 3.5 with 64 examples and about 3.1 with 512.

    1/N in a column instead of on the diagonal finds 6.7 and 5.3, weights before the sum over dimensions less than −20.
    """
    toy = Toy.make()
    assert toy.exact == pytest.approx(3.11, abs=0.01)
    found = [total_correlation(*toy.batch(batch, seed), EXAMPLES).item() for seed in range(repeats)]
    assert sum(found) / repeats == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("batch", "examples"), [(2, 2), (8, 8), (8, 100), (64, 60_000)])
def test_stratified_weights_are_a_mean_over_the_data(batch: int, examples: int) -> None:
    """Trap, TC: rows sum to 1, with 1/N on the diagonal and as much for each other example."""
    weights = stratified_log_weights(batch, examples).exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(batch))
    torch.testing.assert_close(weights.diagonal(), torch.full((batch,), 1 / examples))
    off_diagonal = weights[~torch.eye(batch, dtype=torch.bool)]
    torch.testing.assert_close(off_diagonal, off_diagonal[:1].expand_as(off_diagonal))


def test_total_correlation_of_the_whole_data_is_exact() -> None:
    """With the whole data as one batch, log q(z) and log Π q(z_l) are those of the aggregate posterior's mixture."""
    z_BL, mean_BL, log_std_BL = normal(20, 3), normal(20, 3, seed=1), 0.3 * normal(20, 3, seed=2)
    each = torch.distributions.Normal(mean_BL, log_std_BL.exp()).log_prob(z_BL[:, None])  # [z, posterior, L]
    log_q_B = each.sum(-1).logsumexp(1) - math.log(20)
    log_product_B = (each.logsumexp(1) - math.log(20)).sum(-1)
    found = total_correlation(z_BL, mean_BL, log_std_BL, 20)
    torch.testing.assert_close(found, (log_q_B - log_product_B).mean(), rtol=1e-4, atol=1e-4)


def test_total_correlation_does_not_depend_on_the_order_of_examples() -> None:
    """Trap, TC: no example or column is special: a permuted batch gives the same."""
    batch = Toy.make().batch(64, 0)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        total_correlation(*(part[order] for part in batch), EXAMPLES), total_correlation(*batch, EXAMPLES)
    )


def test_total_correlation_of_one_dimension_is_zero() -> None:
    """One dimension has nothing to correlate with: the estimate is exactly 0."""
    z_BL, mean_BL, log_std_BL = Toy.make().batch(64, 0)
    assert total_correlation(z_BL[:, :1], mean_BL[:, :1], log_std_BL[:, :1], EXAMPLES).item() == 0.0


@pytest.mark.parametrize("std", [0.1, 0.01, 0.003])
def test_total_correlation_of_narrow_posteriors_keeps_its_precision(std: float) -> None:
    """However far z lies from another example's posterior in its standard deviations, float32 agrees with float64."""
    mean_BL, log_std_BL = 1 + normal(64, LATENT), torch.full((64, LATENT), math.log(std))
    z_BL = mean_BL + std * normal(64, LATENT, seed=1)
    exact = total_correlation(z_BL.double(), mean_BL.double(), log_std_BL.double(), EXAMPLES)
    assert total_correlation(z_BL, mean_BL, log_std_BL, EXAMPLES).item() == pytest.approx(exact.item(), abs=2e-3)


def test_total_correlation_falls_where_dimensions_are_torn_apart() -> None:
    """A step against the gradient of a correlated toy makes it less."""
    z_BL, mean_BL, log_std_BL = Toy.make().batch(128, 0)
    z_BL.requires_grad_()
    before = total_correlation(z_BL, mean_BL, log_std_BL, EXAMPLES)
    (gradient,) = torch.autograd.grad(before, z_BL)
    assert total_correlation(z_BL - 0.01 * gradient, mean_BL, log_std_BL, EXAMPLES) < before


# --- DIP-VAE --------------------------------------------------------------------------------------------------------


def test_dip_of_a_toy_is_by_hand() -> None:
    """λ_od · 2 C_12² + λ_d Σ (C_ii − 1)² of four means at (±2, ±1) that lean; ii adds the mean variances to C_ii."""
    mean_BL = torch.tensor([[2.0, 1.0], [-2.0, -1.0], [2.0, -1.0], [-2.0, -1.0]])
    log_std_BL = 0.5 * torch.tensor([[0.5, 2.0], [1.5, 2.0], [0.5, 2.0], [1.5, 2.0]]).log()  # mean variances 1 and 2
    # The means of columns are 0 and −½, C = [[4, 1], [1, ¾]].
    by_hand = {"i": 3 * 2 * 1.0 + 5 * (3.0**2 + 0.25**2), "ii": 3 * 2 * 1.0 + 5 * (4.0**2 + 1.75**2)}
    for variant, expected in by_hand.items():
        config = Dip.model_validate({"variant": variant, "off_diagonal": 3.0, "diagonal": 5.0})
        assert disentangled_inferred_prior(config, mean_BL, log_std_BL).item() == pytest.approx(expected, rel=1e-6)


def test_dip_of_whitened_latents_is_zero() -> None:
    """i: means of covariance I. ii: means at the centre with unit variances."""
    raw = normal(64, 3)
    centred = raw - raw.mean(0)
    white = centred @ torch.linalg.inv(torch.linalg.cholesky(centred.T @ centred / 64)).T
    zeros = torch.zeros(64, 3)
    assert disentangled_inferred_prior(Dip(variant="i"), white, zeros).item() == pytest.approx(0.0, abs=1e-4)
    assert disentangled_inferred_prior(Dip(variant="ii"), zeros, zeros).item() == pytest.approx(0.0, abs=1e-4)
    assert disentangled_inferred_prior(Dip(variant="ii"), white, zeros).item() > 1.0


def test_dip_looks_at_variances_in_its_second_variant_alone() -> None:
    """The posterior's spread gets a gradient from ii and none from i."""
    for variant, reaches in (("i", False), ("ii", True)):
        mean_BL, log_std_BL = normal(8, 2).requires_grad_(), normal(8, 2, seed=1).requires_grad_()
        loss = disentangled_inferred_prior(Dip.model_validate({"variant": variant}), mean_BL, log_std_BL)
        gradient = torch.autograd.grad(loss, log_std_BL, allow_unused=True)[0]
        assert (gradient is not None and gradient.abs().sum().item() > 0) is reaches


# --- maximum mean discrepancy ---------------------------------------------------------------------------------------


def kernel_by_hand(x: Tensor, y: Tensor, kernel: str) -> float:
    square, latent = (x - y).square().sum().item(), len(x)
    if kernel == "rbf":
        return math.exp(-square / (2 * latent))
    scales = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    return sum(2 * latent * scale / (2 * latent * scale + square) for scale in scales)


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_mmd_is_the_unbiased_estimate(kernel: str) -> None:
    """Pair by pair with loops: means over i ≠ j within each set, and over all pairs between them."""
    x, y = normal(5, 2), normal(5, 2, seed=1) + 0.5
    others = [(i, j) for i in range(5) for j in range(5) if i != j]
    within = sum(kernel_by_hand(each[i], each[j], kernel) for each in (x, y) for i, j in others) / 20
    between = sum(kernel_by_hand(a, b, kernel) for a in x for b in y) / 25
    assert maximum_mean_discrepancy(x, y, kernel).item() == pytest.approx(within - 2 * between, rel=1e-4)


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_mmd_of_equal_distributions_is_zero_on_average(kernel: str) -> None:
    """Trap, MMD: over many pairs of samples the mean is 0 within 4 standard errors, both signs occur, and a shift shows."""
    pairs = [(normal(32, 3, seed=2 * seed), normal(32, 3, seed=2 * seed + 1)) for seed in range(200)]
    equal = torch.stack([maximum_mean_discrepancy(x, y, kernel) for x, y in pairs])
    assert abs(equal.mean() / (equal.std() / math.sqrt(len(equal)))) < 4
    assert equal.min() < 0 < equal.max()
    for other in (lambda y: y + 0.7, lambda y: 2 * y, lambda y: y[:, :1].expand(-1, 3)):
        different = torch.stack([maximum_mean_discrepancy(x, other(y), kernel) for x, y in pairs])
        assert different.mean() / (different.std() / math.sqrt(len(different))) > 10


# --- as a penalty ---------------------------------------------------------------------------------------------------


def test_penalty_is_weighted_and_of_the_first_draw() -> None:
    """Each regulariser's weight multiplies its estimate, which looks at the first draw alone."""
    mean_BL, log_std_BL, reference = normal(8, 3), 0.3 * normal(8, 3, seed=1), normal(8, 3, seed=2)
    terms = terms_of(mean_BL, log_std_BL)
    z_BL = terms.z[0]
    for config, expected in (
        (TotalCorrelation(weight=3.0), 3 * total_correlation(z_BL, mean_BL, log_std_BL, 100)),
        (Mmd(weight=2.0, kernel="rbf"), 2 * maximum_mean_discrepancy(z_BL, reference, "rbf")),
        (Dip(), disentangled_inferred_prior(Dip(), mean_BL, log_std_BL)),
    ):
        torch.testing.assert_close(penalty(config, terms, reference, 100), expected)
    with pytest.raises(TypeError, match=r"Discriminator"):
        penalty(Adversary(), terms, None, 100)


@pytest.mark.parametrize(
    "config", [TotalCorrelation(), Dip(variant="i"), Dip(variant="ii"), Mmd(kernel="imq"), Mmd(kernel="rbf")], ids=str
)
def test_autocast_changes_no_penalty(config: RegularizerConfig) -> None:
    """Trap, AMP: products of latents stay in full precision: to the last bit, and in float32."""
    terms, reference = terms_of(normal(64, 5), torch.full((64, 5), math.log(0.02))), normal(64, 5, seed=2)
    full = penalty(config, terms, reference, EXAMPLES)
    with torch.autocast("cpu", torch.bfloat16):
        half = penalty(config, terms, reference, EXAMPLES)
    assert half.dtype == torch.float32
    assert torch.equal(half, full)


def test_penalty_of_total_correlation_is_that_of_beta_tcvae() -> None:
    """With β = 1 the loss is index-code mutual information + (1 + weight) · TC + dimension-wise KL (Chen et al., eq. 2).

    On the whole data as one batch the three parts add up to the sampled rate, so that the weight is TC's alone.
    """
    terms = terms_of(normal(12, 3), 0.3 * normal(12, 3, seed=1))
    z_BL, posterior = terms.z[0], terms.posterior
    each = torch.distributions.Normal(posterior.mean, posterior.std()).log_prob(z_BL[:, None])
    log_q_B = each.sum(-1).logsumexp(1) - math.log(12)
    log_product_B = (each.logsumexp(1) - math.log(12)).sum(-1)
    information = (terms.draw.log_prob()[0] - log_q_B).mean()
    dimension_wise = (log_product_B - torch.distributions.Normal(0.0, 1.0).log_prob(z_BL).sum(-1)).mean()
    sampled_rate = (terms.draw.log_prob() - terms.prior.log_prob(terms.draw))[0].mean()
    weight = 4.0
    found = sampled_rate + penalty(TotalCorrelation(weight=weight), terms, None, 12)
    correlation = (log_q_B - log_product_B).mean()
    torch.testing.assert_close(found, information + (1 + weight) * correlation + dimension_wise, rtol=1e-4, atol=1e-4)
