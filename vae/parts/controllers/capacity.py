"""A rate that is pulled towards a rising capacity."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from vae.parts.controllers.controller import RATE_TOLERANCE, Controller, ControllerPart, EpochBy, Steps, steps_of
from vae.parts.ranks import gather
from vae.parts.terms import Beta, Terms


class Capacity(ControllerPart):
    """β · |rate − C| instead of β · rate, with C rising from 0 (Burgess et al. 2018)."""

    holds_constraint: ClassVar[bool] = True
    trades_rate: ClassVar[bool] = True
    epoch_by: ClassVar[EpochBy] = "bound"
    changes_rate: ClassVar[bool] = True

    kind: Literal["capacity"] = "capacity"
    capacity: Annotated[float, Field(gt=0)] = 25.0
    """Value of C after its rise, in nats."""
    steps: Steps = 0.5
    """Optimiser steps until the capacity is reached; a number below 1 is a share of the run."""
    start: Annotated[int, Field(ge=0)] = 0
    """Optimiser step at which the capacity begins to rise; until then a conditional decoder learns from the condition."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if isinstance(self.steps, int) and self.start >= self.steps:
            raise ValueError(
                f"objective.controller.start: a capacity that starts at step {self.start} has nothing left to rise in "
                f"{self.steps}; use a start of {self.steps - 1} at most, or {self.start + 1} steps at least"
            )
        return self

    @property
    def summary(self) -> str:
        when = f"from step {self.start:,} to {self.steps:,}" if self.start else f"over {self.steps:,} steps"
        return f"C rising to {self.capacity:g} nats {when}"

    @property
    def held_rate(self) -> float:
        return self.capacity

    def rate_in_words(self, beta: float) -> str:
        return f"{beta:g} · |rate − C|"

    def steps_to_settle(self, total_steps: int) -> int:
        return steps_of(self.steps, total_steps)

    def goal(self, beta: float) -> str:
        return f"the capacity would never reach {self.capacity}"

    def gap(self, distortion: float, rate: float) -> float:
        return max(0.0, abs(rate - self.capacity) - RATE_TOLERANCE * self.capacity)

    def weighted_rate(self, terms: Terms, rate: Tensor, beta: Beta, capacity: Beta) -> Tensor:
        return beta * (gather(terms.rate.mean(0)).mean() - capacity).abs()

    def prepare(self, run: Controller, step: int) -> None:
        steps = self.steps_to_settle(run.total_steps)
        run.capacity.fill_(self.capacity * min(1.0, max(0, step - self.start) / (steps - self.start)))

    def settled(self, run: Controller) -> tuple[Tensor, Tensor]:
        return run.beta, torch.full_like(run.capacity, self.capacity)
