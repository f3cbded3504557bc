"""Inputs of a model, and the terms that it gives for them.

Shapes: S samples, B batch, K width of the condition, L latent; `shape` is an example's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from vae.parts.posteriors.posterior import Draw, Posterior
from vae.parts.priors.prior import Prior

Beta = float | Tensor
"""Weight of the rate: one number for all examples, or one for each, [B]."""


class Inputs(NamedTuple):
    """A batch as a model takes it."""

    x: Tensor
    """Examples as the likelihood scores them, [B,*shape]."""
    observed: Tensor | None = None
    """Whether each entry is observed, bool [B,*shape]; None where all are."""
    seen: Tensor | None = None
    """Input of the encoder instead of `x`, such as a corrupted `x`; None for `x`."""
    condition: Tensor | None = None
    """Condition, [B,K]; None for a model without one."""
    log_beta: Tensor | None = None
    """log β of each example for a model with β gates, [B,1]; None for β = 1."""

    def take(self, rows: slice | Tensor) -> Inputs:
        """Returns some of the rows, by a slice or by their numbers."""
        return Inputs(self.x[rows], *(None if part is None else part[rows] for part in self[1:]))


@dataclass(frozen=True)
class Terms:
    """Terms of a bound for each sample and example, in nats; each is computed when it is first used."""

    log_likelihood: Tensor
    """log p(x|z), [S,B]."""
    outputs: Tensor
    """Parameters of the likelihood from the decoder, [S,B,*outputs_shape]."""
    draw: Draw
    posterior: Posterior
    prior: Prior

    @property
    def z(self) -> Tensor:
        """Draws from the posterior, [S,B,L]."""
        return self.draw.z

    @property
    def distortion(self) -> Tensor:
        """−log p(x|z), [S,B]."""
        return -self.log_likelihood

    @property
    def kl(self) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) for each latent dimension, [1 or S,B,L]; None without a closed form."""
        return self.prior.kl(self.posterior, self.draw)

    @property
    def rate(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)), [1 or S,B]; without a closed form, log q(z|x) − log p(z) of each draw."""
        kl = self.kl
        return self.draw.log_prob() - self.prior.log_prob(self.draw) if kl is None else kl.sum(-1)

    @property
    def log_weight(self) -> Tensor:
        """Log p(x,z) − log q(z|x), [S,B]: the importance weight of each draw (Burda et al. 2016, eq. 8)."""
        return self.log_likelihood + self.prior.log_prob(self.draw) - self.draw.log_prob()
