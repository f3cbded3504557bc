"""A black square."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from vae.draws import RowDraws
from vae.parts.corruptions.corruption import CorruptionPart


class BlockMask(CorruptionPart):
    """A black square in the image."""

    kind: Literal["block_mask"] = "block_mask"
    side: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Side of the square, as a share of the image's shorter side."""

    def corrupt(self, x_BCHW: Tensor, source: RowDraws) -> Tensor:
        return x_BCHW * ~_squares(x_BCHW, self.side, source)


def _squares(x_BCHW: Tensor, side: float, source: RowDraws) -> Tensor:
    """Returns a square of each image, wherever it fits, as bool [B,1,H,W]."""
    height, width = x_BCHW.shape[-2:]
    pixels = max(1, round(side * min(height, width)))

    def span(size: int) -> Tensor:
        draw = source.below(size - pixels + 1, len(x_BCHW), 1)
        offset = torch.arange(size, device=x_BCHW.device) - draw
        return (offset >= 0) & (offset < pixels)

    return span(height)[:, None, :, None] & span(width)[:, None, None, :]
