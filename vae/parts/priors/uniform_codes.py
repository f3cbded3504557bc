"""The uniform prior over codes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vae.data.schema import ExampleSpec
from vae.parts.posteriors.posterior import Draw, PosteriorPart
from vae.parts.priors.prior import PriorModule, PriorPart


class UniformCodes(PriorPart):
    """Equal probability for every code of a piece of the latent."""

    of_codes: ClassVar[bool] = True

    kind: Literal["uniform_codes"] = "uniform_codes"

    @property
    def summary(self) -> str:
        return "uniform over the codes"

    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        assert posterior.num_codes is not None, "the configuration refuses another posterior"
        return UniformCodesPrior(posterior.num_codes, posterior.num_pieces(latent_dim))


class UniformCodesPrior(PriorModule):
    """Each piece is one of K codes with probability 1/K."""

    def __init__(self, codes: int, pieces: int) -> None:
        super().__init__()
        self.noise_dim = pieces
        self.num_codes = codes

    def log_prob(self, draw: Draw) -> Tensor:
        return -self.kl(None, draw).sum(-1)

    def kl(self, posterior: Any, draw: Draw) -> Tensor:
        """Returns −log p of each code, which is certain given the example, [1,B,G]."""
        assert draw.codes is not None, "the configuration asks for codes"
        return torch.full(draw.codes.shape, float(self.num_codes), device=draw.codes.device).log()[None]

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        uniform = torch.special.ndtr(noise_BN)
        return (uniform * self.num_codes).long().clamp(max=self.num_codes - 1)
