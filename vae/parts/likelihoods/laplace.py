"""The Laplace likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vae.parts.likelihoods.likelihood import INITIAL_SCALE, LOG_PIXEL_FLOOR, Family, PixelLikelihoodPart, exponential
from vae.parts.likelihoods.location_scale import DecodedScale, LocationScaleFamily, in_unit_interval


class Laplace(PixelLikelihoodPart):
    """p(x|z) = Laplace(μ(z), b(z)) over pixels in [0, 1]: the density of the absolute error."""

    has_grey_floor: ClassVar[bool] = True

    kind: Literal["laplace"] = "laplace"

    @property
    def summary(self) -> str:
        return "Laplace"

    @property
    def decodes_scale(self) -> bool:
        return True

    def family(self) -> Family:
        return LaplaceFamily(in_unit_interval, DecodedScale(INITIAL_SCALE, LOG_PIXEL_FLOOR))


class LaplaceFamily(LocationScaleFamily):
    """Laplace(μ, b): its distance is the absolute error."""

    def standard_log_prob(self, noise: Tensor, raw: Sequence[Tensor]) -> Tensor:
        return -noise.abs() - math.log(2)

    def standard_std(self, raw: Sequence[Tensor]) -> float:
        return math.sqrt(2)

    def standard_sample(self, raw: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        return exponential(raw[0], generator) - exponential(raw[0], generator)
