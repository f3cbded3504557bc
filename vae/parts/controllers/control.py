"""A rate that is held at a set point."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from vae.parts.controllers.controller import RATE_TOLERANCE, Controller, ControllerPart, EpochBy


class ControlVae(ControllerPart):
    """A PI controller that holds the rate at a set point by moving β (Shao et al. 2020).

    The state is the error and its integral.
    """

    moves_beta: ClassVar[bool] = True
    holds_constraint: ClassVar[bool] = True
    trades_rate: ClassVar[bool] = True
    epoch_by: ClassVar[EpochBy] = "bound"

    kind: Literal["control"] = "control"
    rate: Annotated[float, Field(gt=0)] = 16.0
    """Set point of the rate, in nats per example."""
    proportional: Annotated[float, Field(ge=0)] = 0.01
    """K_p of eq. 7: largest addition to β while the rate is above its set point."""
    integral: Annotated[float, Field(ge=0)] = 1e-3
    """K_i of eq. 7: change of β per nat and step."""
    lowest: Annotated[float, Field(ge=0)] = 0.0
    """Lower bound of β."""
    highest: Annotated[float, Field(gt=0)] = 100.0
    """Upper bound of β."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.lowest >= self.highest:
            raise ValueError(f"objective.controller: expected lowest < highest, got {self.lowest} and {self.highest}")
        return self

    @property
    def summary(self) -> str:
        return f"β moved to hold the rate at {self.rate:g} nats"

    @property
    def held_rate(self) -> float:
        return self.rate

    def rate_in_words(self, beta: float) -> str:
        return "β · rate"

    def gap(self, distortion: float, rate: float) -> float:
        return max(0.0, abs(rate - self.rate) - RATE_TOLERANCE * self.rate)

    def prepare(self, run: Controller, step: int) -> None:
        """Sets β = K_p / (1 + exp(e)) − K_i Σ e + β_min, the integral held while β is at a bound (eq. 7)."""
        error, integral = run.state
        proposed = self.proportional * torch.sigmoid(-error) - self.integral * (integral + error) + self.lowest
        inside = (proposed >= self.lowest) & (proposed <= self.highest)
        run.state[1] = torch.where(inside, integral + error, integral)
        run.beta.copy_(proposed.clamp(self.lowest, self.highest))

    def settled(self, run: Controller) -> tuple[Tensor, Tensor]:
        return run.beta, run.capacity

    def observe(self, run: Controller, distortion: Tensor, rate: Tensor) -> None:
        run.state[0] = self.rate - rate
