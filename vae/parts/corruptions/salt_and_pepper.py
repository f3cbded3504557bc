"""Salt and pepper noise."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from vae.draws import RowDraws
from vae.parts.corruptions.corruption import CorruptionPart


class SaltAndPepper(CorruptionPart):
    """A share of the pixels replaced by 0 or 1."""

    kind: Literal["salt_and_pepper"] = "salt_and_pepper"
    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the pixels that are replaced, half of them by 0 and half by 1."""

    def corrupt(self, x_BCHW: Tensor, source: RowDraws) -> Tensor:
        draw = source.uniform(*x_BCHW.shape)
        extreme = (draw < self.share / 2).to(x_BCHW.dtype)
        return torch.where(draw < self.share, extreme, x_BCHW)
