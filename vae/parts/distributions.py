"""Distributions over the latent, from which posteriors and priors are made. Densities are in nats, in float32.

Shapes: S samples, B batch, L latent, K components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians, one for each example and dimension."""

    mean: Tensor
    """Means, […,L]."""
    log_std: Tensor
    """Logarithms of the standard deviations, […,L]."""

    def std(self) -> Tensor:
        """Returns the standard deviation, […,L]."""
        return self.log_std.exp()

    def sample(self, noise: Tensor) -> Tensor:
        """Returns reparameterised draws μ + σ·ε, the shape of the noise (Kingma & Welling 2014, eq. 4)."""
        return torch.addcmul(self.mean, self.log_std.exp(), noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log N(z; μ, σ²) summed over the latent, […]."""
        return gaussian_log_prob(z, self.mean, self.log_std).sum(-1)

    def quadratic(self, centre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns log N(z; μ, σ²) of each entry multiplied out: (a, b, c) of a·(z−centre)² + b·(z−centre) + c, […,L] each.

        For the densities of many draws under many Gaussians, which so become products of matrices. Digits are lost where
        draws lie many σ from the centre: choose one near the means.
        """
        mean, precision = self.mean - centre, torch.exp(-2 * self.log_std)
        return -0.5 * precision, mean * precision, -0.5 * (mean.square() * precision + LOG_2PI) - self.log_std

    def kl(self, other: Gaussian) -> Tensor:
        """Returns KL(self ‖ other) for each dimension in closed form, […,L]."""
        ratio = 2 * (self.log_std - other.log_std)
        shift = (self.mean - other.mean) * torch.exp(-other.log_std)
        return 0.5 * (ratio.expm1() - ratio + shift.square())


def gaussian_log_prob(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Returns log N(z; μ, σ²) of each entry."""
    standardised = (z - mean) * torch.exp(-log_std)
    return -0.5 * (standardised.square() + LOG_2PI) - log_std


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Returns log N(z; 0, I) summed over the latent, […]."""
    return (-0.5 * (z.square() + LOG_2PI)).sum(-1)


class Mixture(NamedTuple):
    """A mixture of diagonal Gaussians over the latent."""

    log_weights: Tensor
    """Logarithms of the weights, which sum to 1, [K]."""
    components: Gaussian
    """Means and log standard deviations [K,L]"""

    def log_prob(self, z_SBL: Tensor) -> Tensor:
        """Returns log p(z), [S,B], without a tensor of size [S,B,K,L]."""
        # In float64 the squares multiplied out lose nothing that counts, and autocast leaves them alone.
        components = Gaussian(self.components.mean.double(), self.components.log_std.double())
        centre_L = components.mean.detach().mean(0)
        square_KL, linear_KL, constant_KL = components.quadratic(centre_L)
        z_SBL = z_SBL.double() - centre_L
        log_density_SBK = z_SBL.square() @ square_KL.T + z_SBL @ linear_KL.T + constant_KL.sum(-1)
        return torch.logsumexp(log_density_SBK + self.log_weights, dim=-1).float()

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        """Draws [B,L] from noise [B,1+L]: the first number chooses the component, and no temperature changes the choice."""
        index_B = choose(self.log_weights, noise_BN[:, 0])
        chosen = Gaussian(self.components.mean[index_B], self.components.log_std[index_B])
        return chosen.sample(temperature * noise_BN[:, 1:])


def choose(log_weights: Tensor, noise_B: Tensor) -> Tensor:
    """Returns indices [B] with probabilities exp(log_weights) [K] or [B,K], by inversion at Φ(noise)."""
    ends = log_weights.exp().cumsum(-1)
    uniform_B1 = torch.special.ndtr(noise_B)[:, None]
    return (ends < uniform_B1).sum(-1).clamp(max=ends.shape[-1] - 1)
