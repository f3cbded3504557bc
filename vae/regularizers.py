"""Regularisers: what is added to the bound, from the latents of a whole batch over all ranks, in nats.

Shapes: S samples, B batch over all ranks, L latent.
"""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import Tensor

from vae.config import Adversary, Dip, Mmd, Regularizer, TotalCorrelation
from vae.distributions import Gaussian, gaussian_log_prob
from vae.model import Terms
from vae.ranks import gather

IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def penalty(config: Regularizer, terms: Terms, reference_BL: Tensor | None, num_examples: int) -> Tensor:
    """The weighted regulariser of a batch, a scalar.

    Args:
        config: Which one. An adversary's is `vae.adversary.Discriminator.penalty`.
        terms: Of this rank's part of the batch; the first draw is looked at.
        reference_BL: As many draws from the prior, for the discrepancy.
        num_examples: Of the training split, which the stratified estimate needs.
    """
    z_BL = gather(terms.z[0])
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
            raise TypeError("an adversary has a state of its own: see vae.adversary")
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
    log_q_BBL = gaussian_log_prob(z_BL[:, None], mean_BL[None], log_std_BL[None])
    log_weights_BB = stratified_log_weights(len(z_BL), num_examples, z_BL.device)
    log_q_B = torch.logsumexp(log_weights_BB + log_q_BBL.sum(-1), dim=1)
    # The weights go inside each dimension's sum over examples, never before the sum over dimensions.
    log_product_B = torch.logsumexp(log_weights_BB[..., None] + log_q_BBL, dim=1).sum(-1)
    return (log_q_B - log_product_B).mean()


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
    if config.variant == "ii":
        covariance = covariance + torch.diag((2 * log_std_BL).exp().mean(0))
    diagonal = covariance.diagonal()
    off_diagonal = covariance.square().sum() - diagonal.square().sum()
    return config.off_diagonal * off_diagonal + config.diagonal * (diagonal - 1).square().sum()


def maximum_mean_discrepancy(x_BL: Tensor, y_BL: Tensor, kernel: str) -> Tensor:
    """An unbiased estimate of MMD²(x, y), which may be below 0. B at least 2.

    References:
        Gretton et al., A Kernel Two-Sample Test (2012), eq. 3. https://jmlr.org/papers/v13/gretton12a.html
        Tolstikhin et al., Wasserstein Auto-Encoders (2018), for the inverse multiquadratics. https://arxiv.org/abs/1711.01558
    """
    count, latent_dim = x_BL.shape
    both = torch.cat([x_BL, y_BL])
    squares = both.square().sum(-1)
    distances = (squares[:, None] + squares[None] - 2 * both @ both.T).clamp(min=0)
    if kernel == "rbf":
        values = torch.exp(-distances / (2 * latent_dim))
    else:
        scales = [2 * latent_dim * scale for scale in IMQ_SCALES]
        values = torch.stack([scale / (scale + distances) for scale in scales]).sum(0)
    within_x, within_y, between = values[:count, :count], values[count:, count:], values[:count, count:]
    pairs = count * (count - 1)
    own = (within_x.sum() - within_x.diagonal().sum() + within_y.sum() - within_y.diagonal().sum()) / pairs
    return own - 2 * between.mean()
