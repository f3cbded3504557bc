"""The least rate at a given distortion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from vae.parts.controllers.controller import DISTORTION_SLACK, Controller, ControllerPart, EpochBy

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.config.objective import ObjectiveConfig

GECO_RANGE = math.log(1e6)
DISTORTION_MARGIN = 0.025
"""Part of a target distortion by which an epoch lies below it that counts as holding it: the model that ships is to reach
the target on other data too."""
LARGEST_VIOLATION = 0.1
"""Relative violation of a distortion above which GECO moves β no faster. An untrained model is far above any target:
without a limit, β would fall a thousandfold before the model has had time to learn, and take most of the run to return."""
LEAD_STEPS = 50
"""Steps by which the present violation counts in advance; this damps the swings of GECO around its target."""


class Geco(ControllerPart):
    """The lowest rate that holds a given distortion (Rezende & Viola 2018).

    β starts at `objective.beta`, and falls while the distortion is too high. The controller aims 5 % below the distortion,
    so that other data reach it too. Its state is the moving average of the violation, and minus its integral times the
    speed.
    """

    moves_beta: ClassVar[bool] = True
    holds_constraint: ClassVar[bool] = True
    trades_rate: ClassVar[bool] = True
    epoch_by: ClassVar[EpochBy] = "rate"

    kind: Literal["geco"] = "geco"
    distortion: float
    """Distortion to reach, in nats per example."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Decay per step of the moving average of the violation."""
    speed: Annotated[float, Field(gt=0)] = 0.1
    """Growth of log 1/β per step, per unit of relative violation; the paper's 0.01 takes more steps than small data has."""

    @property
    def summary(self) -> str:
        return f"β moved until the distortion is {self.distortion:g} nats"

    def rate_in_words(self, beta: float) -> str:
        return "β · rate"

    def gap(self, distortion: float, rate: float) -> float:
        return max(0.0, distortion - self.distortion + DISTORTION_MARGIN * max(1.0, abs(self.distortion)))

    def overshoot(self, distortion: float) -> float:
        return (self.distortion - distortion) / max(1.0, abs(self.distortion))

    def prepare(self, run: Controller, step: int) -> None:
        run.beta.copy_(run.config.beta * torch.exp(run.state[1] - self.speed * LEAD_STEPS * run.state[0]))

    def settled(self, run: Controller) -> tuple[Tensor, Tensor]:
        return run.beta, run.capacity

    def observe(self, run: Controller, distortion: Tensor, rate: Tensor) -> None:
        violation = (distortion - self.distortion) / max(1.0, abs(self.distortion)) + DISTORTION_SLACK / 2
        run.state[0].lerp_(violation.clamp(-LARGEST_VIOLATION, LARGEST_VIOLATION), 1 - self.decay)
        # Above the target the distortion must count for more: β falls.
        run.state[1].sub_(self.speed * run.state[0]).clamp_(-GECO_RANGE, GECO_RANGE)

    def check_objective(self, model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
        super().check_objective(model, objective, batch_size)
        if not objective.beta:
            raise ValueError(
                "objective.beta: geco multiplies it step by step, and 0 would stay 0; start it above 0, such as 1"
            )
