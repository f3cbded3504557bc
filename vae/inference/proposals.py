"""Proposals for importance sampling that are fitted to the weighted draws of an earlier proposal, row by row.

Shapes: S draws, B rows, L latent, N noise.

References:
    Cornuet, Marin, Mira & Robert, Adaptive Multiple Importance Sampling (2012). https://arxiv.org/abs/0907.1254
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae.parts.posteriors.posterior import Draw

DEGREES_OF_FREEDOM = 5
"""Degrees of freedom of the Student-t, whose tails are heavier than a Gaussian prior's: every weight is bounded."""
FITTED_SHARE = 0.2
"""Smallest effective share of the draws that a fit rests on; weights are tempered until it is reached."""
RIDGE = 1e-4
"""Share of the mean variance added to each variance: a covariance of few draws stays invertible."""


def effective_draws(log_weight_SB: Tensor) -> Tensor:
    """Returns the effective sample size (Σw)²/Σw² of each row, [B]: from 1, one draw carries all the weight, to S.

    References:
        Kong, A note on importance sampling using standardized weights (1992).
    """
    return torch.exp(2 * log_weight_SB.logsumexp(0) - (2 * log_weight_SB).logsumexp(0))


@dataclass(frozen=True)
class StudentTProposal:
    """A multivariate Student-t of each row, to draw latents from in place of q(z|x)."""

    mean: Tensor
    """[B,L]"""
    scale: Tensor
    """Lower triangular factor of the scale matrix, [B,L,L]"""

    @property
    def noise_dim(self) -> int:
        """Standard normal numbers that one draw takes."""
        return self.mean.shape[-1] + DEGREES_OF_FREEDOM

    def std(self) -> Tensor:
        """Returns the standard deviation of each dimension, [B,L]."""
        return self.scale.square().sum(-1).sqrt() * math.sqrt(DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2))

    def take(self, rows: slice | Tensor) -> StudentTProposal:
        """Returns the proposals of some rows, by a slice, their numbers or a mask."""
        return StudentTProposal(self.mean[rows], self.scale[rows])

    def draw(self, noise_SBN: Tensor, prior: object = None) -> Draw:
        """Returns a draw for each row of standard normal noise [S,B,N]."""
        latent = self.mean.shape[-1]
        normal_SBL, rest = noise_SBN.split([latent, DEGREES_OF_FREEDOM], dim=-1)
        # A normal over √(χ²/ν), and χ² is a sum of ν squared normals.
        t_SBL = normal_SBL * torch.rsqrt(rest.square().mean(-1, keepdim=True))
        z_SBL = self.mean + torch.einsum("bij,sbj->sbi", self.scale, t_SBL)
        return Draw(z_SBL, lambda: self._log_prob(t_SBL))

    def _log_prob(self, t_SBL: Tensor) -> Tensor:
        """Returns the log density of the draws with these standardised values, [S,B]."""
        latent, v = t_SBL.shape[-1], DEGREES_OF_FREEDOM
        normaliser = math.lgamma((v + latent) / 2) - math.lgamma(v / 2) - 0.5 * latent * math.log(v * math.pi)
        log_det_B = self.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return normaliser - log_det_B - 0.5 * (v + latent) * torch.log1p(t_SBL.square().sum(-1) / v)


def fit_proposal(z_SBL: Tensor, log_weight_SB: Tensor) -> StudentTProposal:
    """Returns the Student-t with the weighted mean and covariance of each row's draws.

    Weights are raised to the largest power, at most 1, that leaves an effective share of `FITTED_SHARE` of the draws: a
    proposal far off moves towards the posterior by steps, instead of collapsing on its one best draw. The covariance is
    shrunk towards its diagonal, the more the fewer draws are effective.
    """
    log_weight_SB, z_SBL = log_weight_SB.double(), z_SBL.double()
    weight_SB = torch.softmax(log_weight_SB * _power(log_weight_SB), 0)
    mean_BL = torch.einsum("sb,sbl->bl", weight_SB, z_SBL)
    away_SBL = z_SBL - mean_BL
    covariance_BLL = torch.einsum("sb,sbi,sbj->bij", weight_SB, away_SBL, away_SBL)
    latent = z_SBL.shape[-1]
    variance_BL = covariance_BLL.diagonal(dim1=-2, dim2=-1)
    shrink_B11 = (latent / (latent + 1 / weight_SB.square().sum(0))).view(-1, 1, 1)
    ridge_BL = RIDGE * variance_BL.mean(-1, keepdim=True) + torch.finfo(torch.float32).tiny
    covariance_BLL = torch.lerp(covariance_BLL, torch.diag_embed(variance_BL), shrink_B11) + torch.diag_embed(
        ridge_BL.expand_as(variance_BL)
    )
    return StudentTProposal(mean_BL.float(), torch.linalg.cholesky_ex(covariance_BLL).L.float())


def _power(log_weight_SB: Tensor) -> Tensor:
    """Returns the largest power in [0, 1] of the weights that leaves enough effective draws, [B], by bisection."""
    enough = FITTED_SHARE * len(log_weight_SB)
    low_B = (effective_draws(log_weight_SB) >= enough).to(log_weight_SB.dtype)
    high_B = torch.ones_like(low_B)
    for _ in range(20):
        middle_B = (low_B + high_B) / 2
        reached_B = effective_draws(log_weight_SB * middle_B) >= enough
        low_B, high_B = torch.where(reached_B, middle_B, low_B), torch.where(reached_B, high_B, middle_B)
    return low_B
