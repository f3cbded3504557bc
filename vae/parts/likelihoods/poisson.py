"""The Poisson likelihood of counts."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.parts.likelihoods.likelihood import Family, PixelLikelihoodPart, Support


class Poisson(PixelLikelihoodPart):
    """p(x|z) of counts: each pixel's grey level, 0 to 255, is a number of events with the rate 255 · μ(z)."""

    support: ClassVar[Support] = "counts"

    kind: Literal["poisson"] = "poisson"

    @property
    def summary(self) -> str:
        return "Poisson over the grey levels"

    @property
    def learns_noise(self) -> bool:
        return False

    @property
    def targets(self) -> str:
        return "probability of each pixel's grey level as a count"

    def collapsed_decoder(self, mean_D: Tensor, variance_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the Gaussian that a Poisson of the same mean comes near to, whose variance is its mean."""
        noise = (mean_D / 255).clamp(min=1e-6)
        nats = 0.5 * (torch.log(2 * torch.pi * 255**2 * noise) + variance_D / noise)
        return noise, torch.zeros_like(noise), nats

    def family(self) -> Family:
        return PoissonFamily()


class PoissonFamily(Family):
    """x ∈ {0, 1/255, 2/255, …}, of a count 255 · x with the rate 255 · σ(logit); draws above 1 are not cut off."""

    num_params = 1
    is_discrete = True

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logit, count = params.squeeze(0), (x * 255).round()
        log_rate = math.log(255) + F.logsigmoid(logit)
        return count * log_rate - 255 * logit.sigmoid() - torch.lgamma(count + 1)

    def mean(self, params: Tensor) -> Tensor:
        return params[0].sigmoid()

    def std(self, params: Tensor) -> Tensor:
        return (params[0].sigmoid() / 255).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(255 * params[0].sigmoid(), generator=generator) / 255
