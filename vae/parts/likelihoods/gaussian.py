"""The Gaussian likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from vae.errors import ConfigError
from vae.parts.distributions import LOG_2PI
from vae.parts.likelihoods.likelihood import LOG_PIXEL_FLOOR, Family, PixelLikelihoodPart, gaussian_nats
from vae.parts.likelihoods.location_scale import (
    LOG_SIGMA_FLOOR,
    DecodedScale,
    FixedScale,
    LearnedScale,
    LocationScaleFamily,
    in_unit_interval,
)


class Gaussian(PixelLikelihoodPart):
    """p(x|z) = N(μ(z), σ²) over pixels in [0, 1]."""

    has_grey_floor: ClassVar[bool] = True

    kind: Literal["gaussian"] = "gaussian"
    sigma: Literal["fixed", "learned", "per_pixel"] = "learned"
    """Source of σ. learned: one global σ, trained (Rybkin et al. 2021, σ-VAE). fixed: `initial_sigma` throughout; β then
    acts as σ². per_pixel: σ(z) of every pixel, from the decoder."""
    initial_sigma: Annotated[float, Field(gt=0)] = 0.25
    """Standard deviation before training, in units of the pixel range."""

    @property
    def summary(self) -> str:
        sigma = {"learned": "one learned σ", "per_pixel": "σ of every pixel"}
        return f"Gaussian, {sigma.get(self.sigma, f'σ = {self.initial_sigma:g}')}"

    @property
    def learns_noise(self) -> bool:
        return self.sigma != "fixed"

    @property
    def decodes_scale(self) -> bool:
        return self.sigma == "per_pixel"

    def collapsed_decoder(self, mean_D: Tensor, variance_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.sigma == "fixed":
            noise = torch.full_like(variance_D, self.initial_sigma**2)
            return noise, torch.zeros_like(noise), 0.5 * (torch.log(2 * torch.pi * noise) + variance_D / noise)
        return gaussian_nats(variance_D.mean().expand_as(variance_D) if self.sigma == "learned" else variance_D)

    def family(self) -> Family:
        return GaussianFamily(in_unit_interval, self._scale())

    def _scale(self) -> FixedScale | LearnedScale | DecodedScale:
        if self.sigma == "fixed":
            return FixedScale(self.initial_sigma)
        if self.initial_sigma <= math.exp(LOG_SIGMA_FLOOR):
            raise ConfigError(
                f"model.likelihood.initial_sigma must be above {math.exp(LOG_SIGMA_FLOOR):.4f}, the floor of a trained σ, "
                f"got {self.initial_sigma}; start higher, or set sigma to `fixed`"
            )
        scale = LearnedScale if self.sigma == "learned" else DecodedScale
        return scale(self.initial_sigma, LOG_PIXEL_FLOOR)


class GaussianFamily(LocationScaleFamily):
    """N(μ, σ²)."""

    num_nodes: ClassVar[int] = 10
    farthest_node: ClassVar[float] = 4.5

    def standard_log_prob(self, noise: Tensor, raw: Sequence[Tensor]) -> Tensor:
        return -0.5 * (noise.square() + LOG_2PI)

    def standard_std(self, raw: Sequence[Tensor]) -> float:
        return 1.0

    def standard_sample(self, raw: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        location = raw[0]
        return torch.randn(location.shape, generator=generator, device=location.device, dtype=location.dtype)
