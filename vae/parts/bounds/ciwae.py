"""The combination of the evidence lower bound and the importance-weighted bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from vae.parts.bounds.bound import BoundPart, importance_weighted
from vae.parts.part import Positive
from vae.parts.terms import Beta, Terms


class Ciwae(BoundPart):
    """mix · ELBO + (1 − mix) · IWAE, which keeps the encoder's gradient alive (Rainforth et al. 2018)."""

    kind: Literal["ciwae"] = "ciwae"
    samples: Positive = 20
    """Draws of z for each example."""
    mix: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the ELBO: 1 is the ELBO, 0 the IWAE."""

    @property
    def summary(self) -> str:
        return self.in_words("rate")

    def in_words(self, rate: str) -> str:
        weighted = f" with {rate}" * (rate != "rate")
        return f"{self.mix:g} · ELBO + {1 - self.mix:g} · IWAE of {self.samples} draws{weighted}"

    def loss(self, terms: Terms, beta: Beta, weighted_elbo: Callable[[], Tensor]) -> Tensor:
        return self.mix * weighted_elbo() - (1 - self.mix) * importance_weighted(terms, beta).mean()
