"""A β that rises once."""

from __future__ import annotations

from typing import ClassVar, Literal

from vae.parts.controllers.controller import ControllerPart, Steps, steps_of


class Warmup(ControllerPart):
    """A β that rises linearly from 0 (Bowman et al. 2016)."""

    is_scheduled: ClassVar[bool] = True

    kind: Literal["warmup"] = "warmup"
    steps: Steps = 500
    """Optimiser steps until β is reached, refused if the run is shorter; a number below 1 is a share of the run."""

    @property
    def summary(self) -> str:
        return f"β rising from 0 over {self.steps:,} steps"

    def steps_to_settle(self, total_steps: int) -> int:
        return steps_of(self.steps, total_steps)

    def beta_at(self, beta: float, step: int, total_steps: int) -> float:
        return beta * min(1.0, step / self.steps_to_settle(total_steps))
