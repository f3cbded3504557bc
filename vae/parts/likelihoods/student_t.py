"""The Student-t likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.parts.likelihoods.likelihood import (
    INITIAL_SCALE,
    LOG_PIXEL_FLOOR,
    Family,
    PixelLikelihoodPart,
    exponential,
    uniform,
)
from vae.parts.likelihoods.location_scale import DecodedScale, Location, LocationScaleFamily, in_unit_interval


class StudentTLikelihood(PixelLikelihoodPart):
    """p(x|z) of Student-t's with location, scale and degrees of freedom from the decoder, which tolerates outliers."""

    has_grey_floor: ClassVar[bool] = True

    kind: Literal["student_t"] = "student_t"

    @property
    def summary(self) -> str:
        return "Student t"

    @property
    def decodes_scale(self) -> bool:
        return True

    def family(self) -> Family:
        return StudentTFamily(in_unit_interval, DecodedScale(INITIAL_SCALE, LOG_PIXEL_FLOOR))


class StudentTFamily(LocationScaleFamily):
    """Student's t with location, scale and degrees of freedom ν from the decoder; far values cost their logarithm.

    ν = 3 + softplus, so that the variance exists, at most 3 s².

    References:
        Mattei & Frellsen, MIWAE (2019), whose code has the same 3. https://arxiv.org/abs/1812.02633
        Bailey, Polar generation of random variates with the t-distribution (1994).
    """

    def __init__(self, location: Location, scale: DecodedScale) -> None:
        super().__init__(location, scale)
        self.num_params += 1

    def degrees_of_freedom(self, raw: Sequence[Tensor]) -> Tensor:
        """Returns ν, [...]."""
        return 3 + F.softplus(raw[-1])

    def standard_log_prob(self, noise: Tensor, raw: Sequence[Tensor]) -> Tensor:
        df = self.degrees_of_freedom(raw)
        half = (df + 1) / 2
        normaliser = torch.lgamma(half) - torch.lgamma(df / 2) - 0.5 * torch.log(math.pi * df)
        return normaliser - half * torch.log1p(noise.square() / df)

    def standard_std(self, raw: Sequence[Tensor]) -> Tensor:
        df = self.degrees_of_freedom(raw)
        return (df / (df - 2)).sqrt()

    def standard_sample(self, raw: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        df = self.degrees_of_freedom(raw)
        radius = (df * torch.expm1(2 * exponential(df, generator) / df)).sqrt()
        return radius * torch.cos(2 * math.pi * uniform(df, generator))
