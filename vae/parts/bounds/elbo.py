"""The evidence lower bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from torch import Tensor

from vae.parts.bounds.bound import BoundPart
from vae.parts.part import Positive
from vae.parts.terms import Beta, Terms


class Elbo(BoundPart):
    """The evidence lower bound (Kingma & Welling 2014)."""

    weighs_draws: ClassVar[bool] = False

    kind: Literal["elbo"] = "elbo"
    samples: Positive = 1
    """Draws of z for each example, over which the distortion is averaged."""

    @property
    def summary(self) -> str:
        return self.in_words("rate")

    def in_words(self, rate: str) -> str:
        loss = f"distortion + {rate}" + " (the ELBO)" * (rate == "rate")
        return loss if self.samples == 1 else f"{loss} over {self.samples} draws"

    def loss(self, terms: Terms, beta: Beta, weighted_elbo: Callable[[], Tensor]) -> Tensor:
        return weighted_elbo()
