"""The vector-quantised posterior: the nearest of some learned codes for each piece of the latent.

Shapes: B batch, G pieces of the latent, D numbers in a code, K codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from vae.parts.part import Positive
from vae.parts.posteriors.posterior import PosteriorModule, PosteriorPart, check_multiple
from vae.parts.posteriors.quantized import Quantized

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.parts.priors.prior import PriorPart

SMOOTHING = 1e-5


class VectorQuantized(PosteriorPart):
    """Codes of a learned codebook: each piece of the latent becomes the nearest one (van den Oord et al. 2017)."""

    not_stackable: ClassVar[str | None] = (
        "model.posterior: a vector_quantized posterior moves its codebook in place, which vmap cannot carry"
    )

    kind: Literal["vector_quantized"] = "vector_quantized"
    codes: Annotated[int, Field(ge=2)] = 64
    """Number of codes in the codebook."""
    code_dim: Positive = 4
    """Numbers in a code; `latent_dim` is a multiple of it."""
    commitment: Annotated[float, Field(ge=0)] = 0.25
    """Weight of the squared distance from the encoder's output to its code."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Decay per step of the moving averages that the codebook follows."""

    @property
    def summary(self) -> str:
        return f"nearest of {self.codes} codes of {self.code_dim} numbers"

    @property
    def num_codes(self) -> int:
        return self.codes

    def num_pieces(self, latent_dim: int) -> int:
        return latent_dim // self.code_dim

    def fewer_codes(self, perplexity: float) -> str | None:
        return f"--set model.posterior.codes={max(2, round(perplexity))}"

    def build(self, features: int, latent_dim: int, prior: PriorPart) -> PosteriorModule:
        return VectorQuantizedPosterior(self, features, latent_dim)

    def check_model(self, model: ModelConfig) -> None:
        check_multiple("model.latent_dim", model.latent_dim, "model.posterior.code_dim", self.code_dim)


class VectorQuantizedPosterior(PosteriorModule):
    """Features to pieces, and each piece to its nearest code."""

    num_starting_examples = 1024

    def __init__(self, config: VectorQuantized, features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = 0
        self.commitment = config.commitment
        self.head = nn.Linear(features, latent_dim)
        self.codebook = Codebook(config.codes, config.code_dim, config.decay)

    def forward(self, features_BF: Tensor, prior: Callable[[], Any]) -> Quantized:
        encoded_BL = self.head(features_BF).float()
        pieces_BGD = encoded_BL.unflatten(-1, (-1, self.codebook.code_dim))
        codes_BG = self.codebook.nearest(pieces_BGD.detach())
        nearest_BL = self.codebook.embed(codes_BG)
        if self.training and torch.is_grad_enabled():
            self.codebook.follow(pieces_BGD.detach(), codes_BG)
        return Quantized(encoded_BL, nearest_BL, codes_BG, self.commitment)

    @property
    def perplexity(self) -> float:
        return self.codebook.perplexity

    def latents_of(self, drawn: Tensor) -> Tensor:
        return self.codebook.embed(drawn)

    def start_at(self, features_BF: Tensor) -> None:
        encoded_BL = self.head(features_BF).float()
        self.codebook.start_at(encoded_BL.unflatten(-1, (-1, self.codebook.code_dim)).flatten(0, 1))


class Codebook(nn.Module):
    """Codes that follow, as moving averages, the pieces nearest to them; the same on every rank.

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
        """Codes, [K,D]."""
        self.counts: Tensor
        """Moving average of the number of pieces in a batch that are nearest to each code, [K]."""
        self.sums: Tensor
        """Moving average of the sums of those pieces, [K,D]."""

    def nearest(self, pieces_BGD: Tensor) -> Tensor:
        """Returns the indices of the nearest codes, [B,G]."""
        # By a matrix product whatever the number of pieces, so that the choice does not depend on the size of a batch.
        mode = "use_mm_for_euclid_dist"
        distance_NK = torch.cdist(pieces_BGD.flatten(0, 1), self.codes, compute_mode=mode)
        return distance_NK.argmin(-1).view(pieces_BGD.shape[:2])

    @property
    def perplexity(self) -> float:
        """Number of codes in use: e to the entropy, in nats, of how often each was chosen in recent training."""
        share_K = self.counts / self.counts.sum()
        return float(torch.special.entr(share_K).sum().exp())

    def embed(self, codes_BG: Tensor) -> Tensor:
        """Returns the latent of codes, [B,G·D]."""
        return self.codes[codes_BG].flatten(-2)

    @torch.no_grad()
    def follow(self, pieces_BGD: Tensor, codes_BG: Tensor) -> None:
        """Moves the codes towards the pieces of a batch, over all ranks."""
        chosen_NK = F.one_hot(codes_BG.flatten(), len(self.codes)).to(pieces_BGD.dtype)
        with torch.autocast(pieces_BGD.device.type, enabled=False):  # or the sums would be bfloat16
            sums = torch.cat([chosen_NK.sum(0)[:, None], chosen_NK.T @ pieces_BGD.flatten(0, 1)], dim=1)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(sums)
        self.counts.lerp_(sums[:, 0], 1 - self.decay)
        self.sums.lerp_(sums[:, 1:], 1 - self.decay)
        # Laplace smoothing: a code that is never chosen must not be divided by 0.
        total = self.counts.sum()
        counts = (self.counts + SMOOTHING) / (total + len(self.counts) * SMOOTHING) * total
        self.codes.copy_(self.sums / counts[:, None])

    @torch.no_grad()
    def start_at(self, pieces_ND: Tensor) -> None:
        """Initialises the codes with pieces spread over those given; more codes than pieces repeat them."""
        numbers = torch.arange(len(self.codes), device=pieces_ND.device)
        start = pieces_ND[(numbers * max(1, len(pieces_ND) // len(numbers))) % len(pieces_ND)]
        self.codes.copy_(start + 1e-3 * self.codes)
        self.counts.fill_(1.0)
        self.sums.copy_(self.codes)
