"""A β of its own for every example."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from vae.draws import RowDraws
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

    def draw_log_beta(self, count: int, source: RowDraws) -> Tensor:
        low, high = math.log(self.low), math.log(self.high)
        return low + (high - low) * source.uniform(count, 1)
