"""A β of its own for every example."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from vae.parts.controllers.controller import ControllerPart


class MultiRate(ControllerPart):
    """A β drawn anew for every example, uniform in the logarithm (Bae et al. 2023). Needs `model.beta_gates`."""

    moves_beta: ClassVar[bool] = True
    gates_beta: ClassVar[bool] = True

    kind: Literal["multi_rate"] = "multi_rate"
    low: Annotated[float, Field(gt=0)] = 0.1
    """Smallest β."""
    high: Annotated[float, Field(gt=0)] = 10.0
    """Largest β."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"objective.controller: expected low < high, got {self.low} and {self.high}")
        return self

    @property
    def summary(self) -> str:
        return f"each example's β between {self.low:g} and {self.high:g}"

    def rate_in_words(self, beta: float) -> str:
        return "β · rate"

    def draw_log_beta(self, count: int, generator: torch.Generator) -> Tensor:
        low, high = math.log(self.low), math.log(self.high)
        share = torch.rand(count, 1, generator=generator, device=generator.device)
        return low + (high - low) * share
