"""The Student-t posterior."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.parts.posteriors.posterior import Draw, PosteriorModule, PosteriorPart

if TYPE_CHECKING:
    from vae.parts.priors.prior import PriorPart

LEAST_DEGREES_OF_FREEDOM = 3.0


class StudentTPosterior(PosteriorPart):
    """q(z|x) of independent Student-t's with learned degrees of freedom, as in MIWAE (Mattei & Frellsen 2019)."""

    kind: Literal["student_t"] = "student_t"

    @property
    def summary(self) -> str:
        return "Student t"

    def build(self, features: int, latent_dim: int, prior: PriorPart) -> PosteriorModule:
        return StudentTPosteriorModule(features, latent_dim)


@dataclass(frozen=True)
class StudentT:
    """Independent Student-t's, one for each example and dimension."""

    mean: Tensor
    """Location, [B,L]."""
    log_scale: Tensor
    """Logarithm of the scale, [B,L]."""
    degrees: Tensor
    """Degrees of freedom, above 2, [B,L]."""

    def std(self) -> Tensor:
        """Returns the standard deviation, [B,L]."""
        return self.log_scale.exp() * torch.sqrt(self.degrees / (self.degrees - 2))

    def draw(self, noise_SBN: Tensor, prior: Any = None) -> Draw:
        """Turns two normals into a t of any degrees by Bailey's polar method, smoothly in all of them.

        References:
            Bailey, Polar Generation of Random Variates with the t-Distribution (1994), theorem 1.
        """
        first, second = noise_SBN.chunk(2, dim=-1)
        square = first.square() + second.square() + 1e-12
        t_SBL = first * torch.sqrt(self.degrees * torch.expm1(square / self.degrees) / square)
        z_SBL = torch.addcmul(self.mean, self.log_scale.exp(), t_SBL)
        return Draw(z_SBL, lambda: self._log_prob(t_SBL))

    def _log_prob(self, t_SBL: Tensor) -> Tensor:
        v = self.degrees
        normaliser = torch.lgamma((v + 1) / 2) - torch.lgamma(v / 2) - 0.5 * torch.log(v * math.pi) - self.log_scale
        return (normaliser - (v + 1) / 2 * torch.log1p(t_SBL.square() / v)).sum(-1)


class StudentTPosteriorModule(PosteriorModule):
    """Features to location, scale and degrees of freedom above 3, for which the variance is finite."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = 2 * latent_dim
        self.head = nn.Linear(features, 3 * latent_dim)

    def forward(self, features_BF: Tensor, prior: Callable[[], Any]) -> StudentT:
        mean_BL, log_scale_BL, raw_BL = self.head(features_BF).float().chunk(3, dim=-1)
        return StudentT(mean_BL, log_scale_BL, LEAST_DEGREES_OF_FREEDOM + F.softplus(raw_BL))
