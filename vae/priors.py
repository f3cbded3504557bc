"""Priors p(z): what the latent looks like before an example is seen.

Shapes: S samples, B batch, L latent. Densities are in nats.
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from vae.config import Prior, StandardNormal
from vae.posteriors import LOG_2PI, Gaussian


def build_prior(config: Prior, latent_dim: int) -> StandardNormalPrior:
    """The prior's module."""
    match config:
        case StandardNormal():
            return StandardNormalPrior(latent_dim)
        case _:
            assert_never(config)


class StandardNormalPrior(nn.Module):
    """p(z) = N(0, I)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim

    def log_prob(self, z_SBL: Tensor) -> Tensor:
        """log p(z) in nats, [S,B]."""
        return (-0.5 * (z_SBL.square() + LOG_2PI)).sum(-1)

    def sample(self, noise_BL: Tensor) -> Tensor:
        """Draws from the prior, [B,L], out of standard normal noise."""
        return noise_BL

    def kl(self, posterior: Gaussian) -> Tensor:
        r"""KL(q(z|x) ‖ p(z)) in nats for each example and dimension, [B,L], in closed form.

        References:
            Kingma & Welling, Auto-Encoding Variational Bayes (2014), appendix B. https://arxiv.org/abs/1312.6114
        """
        mean, log_std = posterior.mean, posterior.log_std
        log_variance = 2 * log_std
        return 0.5 * (torch.addcmul(log_variance.expm1(), mean, mean) - log_variance)
