"""Finite scalar quantisation: each number of the latent rounded to one of a few levels.

Shapes: B batch, G pieces of the latent, D numbers in a code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vae.parts.posteriors.posterior import PosteriorModule, PosteriorPart, check_multiple
from vae.parts.posteriors.quantized import Quantized

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.parts.priors.prior import PriorPart


class FiniteScalarQuantized(PosteriorPart):
    """Codes without a codebook: each number of a piece is bounded and rounded to its levels (Mentzer et al. 2024)."""

    kind: Literal["fsq"] = "fsq"
    levels: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (8, 5, 5, 5)
    """Number of levels of each number in a piece; `latent_dim` is a multiple of how many there are. Their product is the
    number of codes."""

    @property
    def summary(self) -> str:
        return f"{self.num_codes:,} codes of {' × '.join(map(str, self.levels))} levels"

    @property
    def num_codes(self) -> int:
        return math.prod(self.levels)

    def num_pieces(self, latent_dim: int) -> int:
        return latent_dim // len(self.levels)

    def build(self, features: int, latent_dim: int, prior: PriorPart) -> PosteriorModule:
        return FiniteScalarPosterior(self.levels, features, latent_dim)

    def check_model(self, model: ModelConfig) -> None:
        check_multiple("model.latent_dim", model.latent_dim, "model.posterior.levels (their number)", len(self.levels))


class FiniteScalarPosterior(PosteriorModule):
    """Features to pieces, and each number of a piece to the nearest of its levels in [−1, 1].

    References:
        Mentzer, Minnen, Agustsson & Tschannen, Finite Scalar Quantization: VQ-VAE Made Simple (2024), section 3.
        https://arxiv.org/abs/2309.15505
    """

    def __init__(self, levels: tuple[int, ...], features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = 0
        self.head = nn.Linear(features, latent_dim)
        sizes = torch.tensor(levels)
        self.half_D: Tensor
        """Half of the range of each number, in levels, [D]."""
        self.register_buffer("half_D", (sizes - 1) / 2, persistent=False)
        self.sizes_D: Tensor
        """Number of levels of each number, int64 [D]."""
        self.register_buffer("sizes_D", sizes, persistent=False)
        self.basis_D: Tensor
        """Step in the index of a code per level of each number, int64 [D]."""
        self.register_buffer("basis_D", torch.cumprod(sizes, 0) // sizes, persistent=False)

    def forward(self, features_BF: Tensor, prior: Callable[[], Any]) -> Quantized:
        pieces_BGD = self.head(features_BF).float().unflatten(-1, (-1, len(self.half_D)))
        # In levels from 0: tanh never quite reaches the outer ones, which rounding does.
        bounded_BGD = (pieces_BGD.tanh() + 1) * self.half_D
        codes_BG = (bounded_BGD.detach().round().long() * self.basis_D).sum(-1)
        return Quantized((bounded_BGD / self.half_D - 1).flatten(-2), self.latents_of(codes_BG), codes_BG)

    def latents_of(self, drawn: Tensor) -> Tensor:
        level_BGD = drawn[..., None] // self.basis_D % self.sizes_D
        return (level_BGD / self.half_D - 1).flatten(-2)
