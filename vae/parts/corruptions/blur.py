"""A Gaussian blur."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from vae.draws import RowDraws
from vae.parts.corruptions.corruption import CorruptionPart


class Blur(CorruptionPart):
    """A Gaussian blur."""

    kind: Literal["blur"] = "blur"
    sigma: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of the blur, in pixels."""

    def corrupt(self, x_BCHW: Tensor, source: RowDraws) -> Tensor:
        return _blur(x_BCHW, self.sigma)


def _blur(x_BCHW: Tensor, sigma: float) -> Tensor:
    """Returns the convolution with a Gaussian cut at three standard deviations; border pixels are repeated beyond it."""
    radius = math.ceil(3 * sigma)
    offset = torch.arange(-radius, radius + 1, device=x_BCHW.device, dtype=x_BCHW.dtype)
    kernel = torch.softmax(-(offset**2) / (2 * sigma**2), 0)
    x = F.pad(x_BCHW.flatten(0, 1)[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1)).view_as(x_BCHW)
