"""Gaussian noise."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from vae.parts.corruptions.corruption import CorruptionPart


class GaussianNoise(CorruptionPart):
    """Normal noise on every pixel, not clipped."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: Annotated[float, Field(gt=0)] = 0.25
    """Standard deviation of the noise, in units of the pixel range."""

    def corrupt(self, x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(x_BCHW.shape, generator=generator, device=x_BCHW.device, dtype=x_BCHW.dtype)
        return x_BCHW + self.sigma * noise
