"""The distribution that every posterior of codes returns.

Shapes: S samples, B batch, L latent, N noise, G pieces of the latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vae.parts.posteriors.posterior import Draw


@dataclass(frozen=True)
class Quantized:
    """One certain code for each piece of the latent."""

    encoded: Tensor
    """Output of the encoder, [B,L]."""
    nearest: Tensor
    """Values of the chosen codes, [B,L]."""
    codes: Tensor
    """Indices of the chosen codes, int64 [B,G]."""
    commitment: float = 0.0
    """Weight of the squared distance between `encoded` and `nearest` in the loss."""

    @property
    def mean(self) -> Tensor:
        """Values of the chosen codes, [B,L]."""
        return self.nearest

    def std(self) -> Tensor:
        """Returns 0, [B,L]: each example has a single latent."""
        return torch.zeros_like(self.nearest)

    def draw(self, noise_SBN: Tensor, prior: Any = None) -> Draw:
        """Returns the codes, straight through: the encoder gets the decoder's gradient (van den Oord et al. 2017)."""
        z_BL = self.encoded + (self.nearest - self.encoded).detach()
        z_SBL = z_BL.expand(len(noise_SBN), *z_BL.shape)
        penalty_B = None
        if self.commitment:
            penalty_B = self.commitment * (self.encoded - self.nearest.detach()).square().sum(-1)
        return Draw(z_SBL, lambda: torch.zeros_like(z_SBL[..., 0]), codes=self.codes, penalty=penalty_B)
