"""Regularisers: what is added to the bound, from the latents of a whole batch over all ranks, in nats.

Shapes: S samples, B batch over all ranks, L latent.
"""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import Tensor

from vae.config import Adversary, Dip, Mmd, Regularizer, TotalCorrelation
from vae.model import Terms
from vae.parts.distributions import Gaussian
from vae.parts.ranks import gather

IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def penalty(config: Regularizer, terms: Terms, reference_BL: Tensor | None, num_examples: int) -> Tensor:
    """The weighted regulariser of a batch, a scalar.

    Args:
        config: Which one. An adversary's is `vae.parts.adversary.Discriminator.penalty`.
        terms: Of this rank's part of the batch; the first draw is looked at.
        reference_BL: As many draws from the prior, for the discrepancy.
        num_examples: Of the training split, which the stratified estimate needs.
    """
    z_BL = gather(terms.z[0])
    with torch.autocast(z_BL.device.type, enabled=False):  # products of latents lose their differences in bfloat16
        match config:
            case TotalCorrelation(weight=weight):
                posterior = _gathered(terms)
                return weight * total_correlation(z_BL, posterior.mean, posterior.log_std, num_examples)
            case Dip():
                posterior = _gathered(terms)
                return disentangled_inferred_prior(config, posterior.mean, posterior.log_std)
            case Mmd(weight=weight, kernel=kernel):
                assert reference_BL is not None, "the discrepancy is to draws from the prior"
                return weight * maximum_mean_discrepancy(z_BL, gather(reference_BL), kernel)
            case Adversary():
                raise TypeError("an adversary has a state of its own: see vae.parts.adversary")
            case _:
                assert_never(config)


def _gathered(terms: Terms) -> Gaussian:
    posterior = terms.posterior
    assert isinstance(posterior, Gaussian), "the configuration refuses another posterior"
    return Gaussian(gather(posterior.mean), gather(posterior.log_std))


def total_correlation(z_BL: Tensor, mean_BL: Tensor, log_std_BL: Tensor, num_examples: int) -> Tensor:
    r"""KL(q(z) ‖ Π q(z_l)) in nats, by minibatch-stratified sampling.

    Row i of the weights estimates E over the data of q(z_i|x) from this batch: 1/N for the own example on the diagonal, and
    the rest of 1 for the others, so that rows sum to 1.

    Args:
        z_BL: A draw for each example.
        mean_BL, log_std_BL: Of the posteriors they were drawn from.
        num_examples: N, of the training split.

    References:
        Chen et al., Isolating Sources of Disentanglement in VAEs (2018), appendix C.2. https://arxiv.org/abs/1802.04942
    """
    batch = len(z_BL)
    log_q_LBB = _log_densities(z_BL, mean_BL, log_std_BL)
    log_weights_BB = stratified_log_weights(batch, num_examples, z_BL.device)
    log_q_B = torch.logsumexp(log_weights_BB + log_q_LBB.sum(0), dim=1)
    # The weights go inside each dimension's sum over examples, never before the sum over dimensions.
    log_product_B = torch.logsumexp(log_q_LBB + log_weights_BB, dim=2).sum(0)
    return (log_q_B - log_product_B).mean()


def _log_densities(z_BL: Tensor, mean_BL: Tensor, log_std_BL: Tensor) -> Tensor:
    """Log q(z_i|x_j) of each dimension, [L,B,B], as one product of matrices: the square is multiplied out."""
    centre_L = mean_BL.detach().mean(0)
    z_LB = (z_BL - centre_L).T
    square_LB, linear_LB, constant_LB = (part.T for part in Gaussian(mean_BL, log_std_BL).quadratic(centre_L))
    left_LB2 = torch.stack([z_LB.square(), z_LB], dim=-1)
    right_L2B = torch.stack([square_LB, linear_LB], dim=1)
    return torch.baddbmm(constant_LB[:, None], left_LB2, right_L2B)


def stratified_log_weights(batch: int, num_examples: int, device: torch.device | None = None) -> Tensor:
    """[B,B]; B at least 2. Rows sum to 1, with 1/N on the diagonal."""
    others = (1 - 1 / num_examples) / (batch - 1)
    weights = torch.full((batch, batch), math.log(others), device=device)
    return weights.fill_diagonal_(-math.log(num_examples))


def disentangled_inferred_prior(config: Dip, mean_BL: Tensor, log_std_BL: Tensor) -> Tensor:
    """λ_od Σ_{i≠j} C_ij² + λ_d Σ_i (C_ii − 1)² with C the covariance of the latents over the batch.

    References:
        Kumar, Sattigeri & Balakrishnan, Variational Inference of Disentangled Latent Concepts (2018), eq. 6 and 7.
        https://arxiv.org/abs/1711.00848
    """
    centred = mean_BL - mean_BL.mean(0)
    covariance = centred.T @ centred / len(mean_BL)
    diagonal = covariance.diagonal()
    off_diagonal = covariance.square().sum() - diagonal.square().sum()
    if config.variant == "ii":  # of draws: the posteriors' own variances lie on the diagonal
        diagonal = diagonal + (2 * log_std_BL).exp().mean(0)
    return config.off_diagonal * off_diagonal + config.diagonal * (diagonal - 1).square().sum()


def maximum_mean_discrepancy(x_BL: Tensor, y_BL: Tensor, kernel: str) -> Tensor:
    """An unbiased estimate of MMD²(x, y), which may be below 0. B at least 2.

    References:
        Gretton et al., A Kernel Two-Sample Test (2012), eq. 3. https://jmlr.org/papers/v13/gretton12a.html
        Tolstikhin et al., Wasserstein Auto-Encoders (2018), for the inverse multiquadratics. https://arxiv.org/abs/1711.01558
    """
    count = len(x_BL)
    within_x, within_y, between = (_kernel(a, b, kernel) for a, b in ((x_BL, x_BL), (y_BL, y_BL), (x_BL, y_BL)))
    own = within_x.sum() - within_x.diagonal().sum() + within_y.sum() - within_y.diagonal().sum()
    return own / (count * (count - 1)) - 2 * between.mean()


def _kernel(a_BL: Tensor, b_BL: Tensor, kernel: str) -> Tensor:
    """The kernel's value of each pair, [B,B]."""
    latent_dim = a_BL.shape[1]
    squares_B1, squares_B = a_BL.square().sum(-1, keepdim=True), b_BL.square().sum(-1)
    distances_BB = torch.addmm(squares_B1 + squares_B, a_BL, b_BL.T, alpha=-2).clamp(min=0)
    if kernel == "rbf":
        return torch.exp(-distances_BB / (2 * latent_dim))
    return sum((scale / (scale + distances_BB) for scale in (2 * latent_dim * s for s in IMQ_SCALES)), start=0.0)  # pyright: ignore
