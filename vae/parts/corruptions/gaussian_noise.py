"""Gaussian noise."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from vae.draws import RowDraws
from vae.parts.corruptions.corruption import CorruptionPart


class GaussianNoise(CorruptionPart):
    """Normal noise on every pixel, not clipped."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: Annotated[float, Field(gt=0)] = 0.25
    """Standard deviation of the noise, in units of the pixel range."""

    def corrupt(self, x_BCHW: Tensor, source: RowDraws) -> Tensor:
        return x_BCHW + self.sigma * source.normal(*x_BCHW.shape).to(x_BCHW.dtype)
