"""The autoregressive prior over codes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.data.schema import ExampleSpec
from vae.parts.distributions import choose
from vae.parts.part import Positive
from vae.parts.posteriors.posterior import Draw, PosteriorPart
from vae.parts.priors.prior import PriorModule, PriorPart


class AutoregressiveCodes(PriorPart):
    """Probabilities of the codes one after the other, by a recurrent network; the second stage of a VQ-VAE.

    The network learns beside the model from codes without gradient, so it learns what a stage after training would.
    """

    of_codes: ClassVar[bool] = True
    not_stackable: ClassVar[str | None] = (
        "model.prior: autoregressive_codes has a recurrent network, which vmap cannot carry"
    )

    kind: Literal["autoregressive_codes"] = "autoregressive_codes"
    hidden: Positive = 128
    """Units of the recurrent network."""

    @property
    def summary(self) -> str:
        return "autoregressive over the codes"

    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        assert posterior.num_codes is not None, "the configuration refuses another posterior"
        pieces = posterior.num_pieces(latent_dim)
        return AutoregressiveCodesPrior(posterior.num_codes, pieces, self.hidden)


class AutoregressiveCodesPrior(PriorModule):
    """p(codes) = Π p(code_g | codes before), by a gated recurrent network; codes carry no gradient."""

    def __init__(self, codes: int, pieces: int, hidden: int) -> None:
        super().__init__()
        self.noise_dim = pieces
        self.embedding = nn.Embedding(codes + 1, hidden)  # the last one begins
        self.recurrent = nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, codes)

    def log_prob(self, draw: Draw) -> Tensor:
        return -self.kl(None, draw).sum(-1)

    def kl(self, posterior: Any, draw: Draw) -> Tensor:
        """Returns −log p of each code given those before, [1,B,G]."""
        codes_BG = draw.codes
        assert codes_BG is not None, "the configuration asks for codes"
        before_BG = torch.cat([self._begin(len(codes_BG), codes_BG), codes_BG[:, :-1]], dim=1)
        logits_BGK = self.head(self.recurrent(self.embedding(before_BG))[0]).float()
        return F.cross_entropy(logits_BGK.transpose(1, 2), codes_BG, reduction="none")[None]

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        code_B1, state, codes = self._begin(noise_BN.shape[0], noise_BN.new_zeros(0).long()), None, []
        for noise_B in noise_BN.unbind(-1):
            out, state = self.recurrent(self.embedding(code_B1), state)
            code_B1 = choose((self.head(out[:, 0]).float() / temperature).log_softmax(-1), noise_B)[:, None]
            codes.append(code_B1)
        return torch.cat(codes, dim=1)

    def _begin(self, batch: int, like: Tensor) -> Tensor:
        return torch.full((batch, 1), self.embedding.num_embeddings - 1, device=like.device)
