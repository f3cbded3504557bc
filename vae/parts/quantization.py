"""The codebook of a vector-quantised latent.

Shapes: B batch, G pieces of the latent, D numbers in a code, K codes.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

SMOOTHING = 1e-5


class Codebook(nn.Module):
    """Codes that follow, as moving averages, the pieces that are nearest to them; the same on every rank.

    References:
        van den Oord, Vinyals & Kavukcuoglu, Neural Discrete Representation Learning (2017), appendix A.1.
        https://arxiv.org/abs/1711.00937
    """

    def __init__(self, codes: int, code_dim: int, decay: float) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.decay = decay
        self.register_buffer("codes", torch.randn(codes, code_dim))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codes.clone())
        self.codes: Tensor
        """[K,D]"""
        self.counts: Tensor
        """Moving average of how many pieces of a batch are nearest to each code, [K]"""
        self.sums: Tensor
        """Moving average of their sums, [K,D]"""

    def nearest(self, pieces_BGD: Tensor) -> Tensor:
        """Indices of the nearest codes, [B,G]."""
        return torch.cdist(pieces_BGD.flatten(0, 1), self.codes).argmin(-1).view(pieces_BGD.shape[:2])

    @property
    def perplexity(self) -> float:
        """How many codes are in use: e to the entropy, in nats, of how often each was chosen in training of late."""
        share_K = self.counts / self.counts.sum()
        return float(torch.special.entr(share_K).sum().exp())

    def embed(self, codes_BG: Tensor) -> Tensor:
        """The latent of codes, [B,G·D]."""
        return self.codes[codes_BG].flatten(-2)

    @torch.no_grad()
    def follow(self, pieces_BGD: Tensor, codes_BG: Tensor) -> None:
        """Moves the codes towards the pieces of a batch, of all ranks together."""
        chosen_NK = F.one_hot(codes_BG.flatten(), len(self.codes)).to(pieces_BGD.dtype)
        with torch.autocast(pieces_BGD.device.type, enabled=False):  # or the sums would be bfloat16
            found = torch.cat([chosen_NK.sum(0)[:, None], chosen_NK.T @ pieces_BGD.flatten(0, 1)], dim=1)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(found)
        self.counts.lerp_(found[:, 0], 1 - self.decay)
        self.sums.lerp_(found[:, 1:], 1 - self.decay)
        # Laplace smoothing: a code that is never chosen must not be divided by 0.
        total = self.counts.sum()
        counts = (self.counts + SMOOTHING) / (total + len(self.counts) * SMOOTHING) * total
        self.codes.copy_(self.sums / counts[:, None])

    @torch.no_grad()
    def start_at(self, pieces_ND: Tensor) -> None:
        """Begins with pieces of real examples, spread over those given; more codes than pieces repeat them."""
        numbers = torch.arange(len(self.codes), device=pieces_ND.device)
        start = pieces_ND[(numbers * max(1, len(pieces_ND) // len(numbers))) % len(pieces_ND)]
        self.codes.copy_(start + 1e-3 * self.codes)
        self.counts.fill_(1.0)
        self.sums.copy_(self.codes)
