"""The total correlation of the aggregate posterior, estimated from minibatches."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vae.parts.distributions import Gaussian
from vae.parts.regularizers.regularizer import RegularizerPart, gathered
from vae.parts.terms import Terms


class TotalCorrelation(RegularizerPart):
    """β-TCVAE's penalty, estimated by minibatch-stratified sampling (Chen et al. 2018).

    With `objective.beta` 1 it is the paper's decomposition with β = 1 + weight.
    """

    needs_moments: ClassVar[bool] = True

    kind: Literal["total_correlation"] = "total_correlation"
    weight: float = 5.0
    """Weight of the total correlation, which is in nats."""

    @property
    def summary(self) -> str:
        return f"{self.weight:g} · total correlation"

    def penalty(self, z_BL: Tensor, terms: Terms, reference_BL: Tensor | None, num_examples: int) -> Tensor:
        posterior = gathered(terms)
        return self.weight * total_correlation(z_BL, posterior.mean, posterior.log_std, num_examples)


def total_correlation(z_BL: Tensor, mean_BL: Tensor, log_std_BL: Tensor, num_examples: int) -> Tensor:
    r"""Returns KL(q(z) ‖ Π q(z_l)) in nats, by minibatch-stratified sampling.

    Row i of the weights estimates E over the data of q(z_i|x) from this batch: 1/N for the own example on the diagonal, and
    the rest of 1 for the others, so that rows sum to 1.

    Args:
        z_BL: A draw for each example.
        mean_BL: Means of the posteriors that they were drawn from.
        log_std_BL: Log standard deviations of those posteriors.
        num_examples: N, the size of the training split.

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
    """Returns log q(z_i|x_j) of each dimension, [L,B,B], as one product of matrices: the square is multiplied out."""
    centre_L = mean_BL.detach().mean(0)
    z_LB = (z_BL - centre_L).T
    square_LB, linear_LB, constant_LB = (part.T for part in Gaussian(mean_BL, log_std_BL).quadratic(centre_L))
    left_LB2 = torch.stack([z_LB.square(), z_LB], dim=-1)
    right_L2B = torch.stack([square_LB, linear_LB], dim=1)
    return torch.baddbmm(constant_LB[:, None], left_LB2, right_L2B)


def stratified_log_weights(batch: int, num_examples: int, device: torch.device | None = None) -> Tensor:
    """Returns the weights' logarithms [B,B], for B of at least 2; rows sum to 1, with 1/N on the diagonal."""
    others = (1 - 1 / num_examples) / (batch - 1)
    weights = torch.full((batch, batch), math.log(others), device=device)
    return weights.fill_diagonal_(-math.log(num_examples))
