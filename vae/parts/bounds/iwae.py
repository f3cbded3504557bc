"""The importance-weighted bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from torch import Tensor

from vae.parts.bounds.bound import BoundPart, importance_weighted
from vae.parts.part import Positive
from vae.parts.terms import Beta, Terms


class Iwae(BoundPart):
    """The importance-weighted bound (Burda et al. 2016); with missing entries it is MIWAE (Mattei & Frellsen 2019)."""

    has_rate: ClassVar[bool] = False

    kind: Literal["iwae"] = "iwae"
    samples: Positive = 20
    """Draws of z for each example."""

    @property
    def summary(self) -> str:
        return self.in_words("rate")

    def in_words(self, rate: str) -> str:
        return f"the importance-weighted bound of {self.samples} draws" + f" with {rate}" * (rate != "rate")

    def loss(self, terms: Terms, beta: Beta, weighted_elbo: Callable[[], Tensor]) -> Tensor:
        return -importance_weighted(terms, beta).mean()
