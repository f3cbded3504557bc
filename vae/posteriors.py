"""Posteriors q(z|x): what the encoder's features say of the latent.

Shapes: S samples, B batch, L latent. Randomness comes in as standard normal noise [S,B,L], so that a draw is a pure
function of the features and the noise: it repeats after a resume, and it can be vmapped, compiled and captured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn

from vae.config import DiagonalGaussian, Posterior

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian over the latent, one per example."""

    mean: Tensor
    """[B,L]"""
    log_std: Tensor
    """[B,L]"""

    def sample(self, noise_SBL: Tensor) -> Tensor:
        """Reparameterised draws z = μ + σ·ε, [S,B,L] (Kingma & Welling 2014, eq. 4)."""
        return torch.addcmul(self.mean, self.log_std.exp(), noise_SBL)

    def log_prob(self, z_SBL: Tensor) -> Tensor:
        """log q(z|x) in nats, [S,B]."""
        standardised = (z_SBL - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * (standardised.square() + LOG_2PI) - self.log_std).sum(-1)

    def std(self) -> Tensor:
        """[B,L]"""
        return self.log_std.exp()


def build_posterior(config: Posterior, features: int, latent_dim: int) -> DiagonalGaussianPosterior:
    """The posterior's module, from the encoder's number of features."""
    match config:
        case DiagonalGaussian():
            return DiagonalGaussianPosterior(features, latent_dim)
        case _:
            assert_never(config)


class DiagonalGaussianPosterior(nn.Module):
    """Features to the mean and log standard deviation of q(z|x)."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.head = nn.Linear(features, 2 * latent_dim)

    def forward(self, features_BF: Tensor) -> Gaussian:
        mean_BL, log_std_BL = self.head(features_BF).float().chunk(2, dim=-1)
        return Gaussian(mean_BL, log_std_BL)
