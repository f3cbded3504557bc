"""The prior of a learned mixture of Gaussians."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vae.data.schema import ExampleSpec
from vae.parts.distributions import Gaussian, Mixture
from vae.parts.posteriors.posterior import PosteriorPart
from vae.parts.priors.prior import Encode, MixtureDistribution, PriorModule, PriorPart


class GaussianMixture(PriorPart):
    """A learned mixture of diagonal Gaussians."""

    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    components: Annotated[int, Field(ge=2)] = 10
    """Number of Gaussians."""

    @property
    def summary(self) -> str:
        return f"mixture of {self.components} Gaussians"

    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        return MixturePrior(self.components, latent_dim)


class MixturePrior(PriorModule):
    """A learned mixture of diagonal Gaussians."""

    def __init__(self, components: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = 1 + latent_dim
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.log_stds = nn.Parameter(torch.zeros(components, latent_dim))

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> MixtureDistribution:
        return MixtureDistribution(Mixture(self.logits.log_softmax(-1), Gaussian(self.means, self.log_stds)))
