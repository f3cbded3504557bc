"""A β that rises in cycles."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vae.parts.controllers.controller import ControllerPart, Steps, steps_of
from vae.parts.part import Positive


class Cyclical(ControllerPart):
    """A β that rises from 0 again and again (Fu et al. 2019)."""

    is_scheduled: ClassVar[bool] = True

    kind: Literal["cyclical"] = "cyclical"
    steps: Steps = 500
    """Optimiser steps of a cycle; a number below 1 is a share of the run."""
    cycles: Positive = 4
    """Number of cycles, after which β stays as it is."""
    rising: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a cycle in which β rises; β stays as it is for the rest of the cycle."""

    @property
    def summary(self) -> str:
        return f"β rising from 0 in {self.cycles} cycles of {self.steps:,} steps"

    def steps_to_settle(self, total_steps: int) -> int:
        return steps_of(self.steps, total_steps) * self.cycles

    def goal(self, beta: float) -> str:
        return f"its {self.cycles} cycles would never end"

    def beta_at(self, beta: float, step: int, total_steps: int) -> float:
        steps = steps_of(self.steps, total_steps)
        return beta * (1.0 if step >= steps * self.cycles else min(1.0, step % steps / (steps * self.rising)))
