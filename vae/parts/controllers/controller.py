"""The base of controllers, which set β at each optimiser step.

Steps are optimiser steps, never epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, distributed

from vae.draws import RowDraws
from vae.errors import ConfigError
from vae.parts.part import Part
from vae.parts.terms import Beta, Terms

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.config.objective import ObjectiveConfig

EpochBy = Literal["objective", "rate", "bound"]
RATE_TOLERANCE = 0.03
"""Share of a held rate within which an epoch counts as holding it; less than the 5 % that is promised of the shipped model,
whose rate is measured on other data."""
DISTORTION_SLACK = 0.1
"""Part of a target distortion by which GECO may lie below it and count as settled; it aims at the middle of this range."""


def _steps(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError(
            f"objective.controller.steps: expected whole steps, or a share of the run below 1, got {value}; use "
            f"{int(value)}"
        )
    return value if value < 1 else int(value)


Steps = Annotated[int | float, Field(gt=0), AfterValidator(_steps)]
"""Optimiser steps; a number below 1 is a share of the run."""


def steps_of(steps: float, total_steps: int) -> int:
    """Returns the optimiser steps of a schedule's field in a run of `total_steps`."""
    return steps if isinstance(steps, int) else max(1, round(steps * total_steps))


class ControllerPart(Part):
    """The rule that sets β, or holds a rate or a distortion, while the model trains."""

    is_scheduled: ClassVar[bool] = False
    """Whether β comes to `objective.beta` by a schedule that looks at the step alone."""
    moves_beta: ClassVar[bool] = False
    """Whether β follows the distortion or the rate, or differs between examples, instead of `objective.beta`."""
    holds_constraint: ClassVar[bool] = False
    """Whether the controller holds a rate or a distortion."""
    trades_rate: ClassVar[bool] = False
    """Whether the controller trades rate for distortion, which the rate of codes does not do."""
    changes_rate: ClassVar[bool] = False
    """Whether the controller changes the rate's term, which a bound must have apart."""
    gates_beta: ClassVar[bool] = False
    """Whether each example has a β of its own, to which the model is gated (`model.beta_gates`)."""

    epoch_by: ClassVar[EpochBy] = "objective"
    """Validation figure by which an epoch is the best among those that hold the constraint."""

    @property
    def held_rate(self) -> float | None:
        """Rate that the controller holds, in nats per example; None if it holds none."""
        return None

    def rate_in_words(self, beta: float) -> str:
        """Returns the rate's term of the loss as text."""
        return "rate" if beta == 1 else f"{beta:g} · rate"

    def steps_to_settle(self, total_steps: int) -> int:
        """Returns the optimiser steps after which β no longer changes by schedule."""
        return 0

    def goal(self, beta: float) -> str:
        """Returns the consequence of a schedule that is longer than the run, as text."""
        return f"beta would never reach {beta}"

    def beta_at(self, beta: float, step: int, total_steps: int) -> float:
        """Returns β at an optimiser step, counted from 0, of a schedule that leads to `beta`."""
        return beta

    def gap(self, distortion: float, rate: float) -> float:
        """Returns the nats by which the constraint is missed beyond its tolerance; 0 if it is held, or there is none."""
        return 0.0

    def overshoot(self, distortion: float) -> float:
        """Returns the share by which a distortion lies below its target; 0 without one."""
        return 0.0

    def is_at_constraint(self, distortion: float, rate: float) -> bool:
        """Returns whether the constraint is held, and no better than necessary: GECO passes far below its target."""
        return not self.gap(distortion, rate) and self.overshoot(distortion) <= DISTORTION_SLACK

    def weighted_rate(self, terms: Terms, rate: Tensor, beta: Beta, capacity: Beta) -> Tensor:
        """Returns the rate's term of the loss, a scalar, from the mean rate of this rank."""
        if isinstance(beta, Tensor) and beta.ndim:
            return (beta * terms.rate).mean()
        return beta * rate

    def draw_log_beta(self, count: int, source: RowDraws) -> Tensor | None:
        """Draws log β of each example, [count,1], on the source's device; None for one β."""
        return None

    def prepare(self, run: Controller, step: int) -> None:
        """Sets the run's `beta` and `capacity` for an optimiser step, counted from 0."""
        run.beta.fill_(self.beta_at(run.config.beta, step, run.total_steps))

    def settled(self, run: Controller) -> tuple[Tensor, Tensor]:
        """Returns β and the capacity after the end of a schedule; of a constraint, as they are now."""
        return torch.full_like(run.beta, run.config.beta), run.capacity

    def observe(self, run: Controller, distortion: Tensor, rate: Tensor) -> None:
        """Updates the run's state from the means of a step over all ranks."""

    def check_objective(self, model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
        """Raises ValueError if the controller does not fit the model or the bound."""
        if self.gates_beta != model.beta_gates:
            raise ValueError(
                "objective.controller multi_rate and model.beta_gates belong together: the gates learn β from it, and a "
                f"model without them cannot; got controller {self.kind} and beta_gates {model.beta_gates}"
            )
        if self.trades_rate and model.posterior.has_codes:
            raise ValueError(
                f"objective.controller: {self.kind} trades rate for distortion, and the rate of codes moves their prior "
                "alone; use constant"
            )
        if self.changes_rate and not objective.bound.has_rate:
            raise ValueError(
                f"objective.controller: {self.kind} changes the rate, which the {objective.bound.kind} bound does not have "
                "apart; use bound elbo or ciwae"
            )


class Controller:
    """The controller of a running training: β and capacity of each step, and a memory of earlier steps.

    Its memory is `state`, a vector on the device that is equal on every rank and goes into the checkpoint.

    Args:
        config: The objective.
        total_steps: Optimiser steps of the run; a schedule may be a share of them.
        device: Device of β, so that setting it costs no synchronisation.
    """

    def __init__(self, config: ObjectiveConfig, total_steps: int, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.total_steps = total_steps
        self.beta = torch.full((), config.beta, device=device)
        self.capacity = torch.zeros((), device=device)
        self.state = torch.zeros(2, device=device)
        """Two numbers whose meaning is the controller's own."""

    def prepare(self, step: int) -> None:
        """Sets `beta` and `capacity` for an optimiser step, counted from 0."""
        self.config.controller.prepare(self, step)

    def settled(self) -> tuple[Tensor, Tensor]:
        """Returns β and the capacity after the end of a schedule; of a constraint, as they are now."""
        return self.config.controller.settled(self)

    def observe(self, distortion: Tensor, rate: Tensor) -> None:
        """Takes in a step's distortion and rate, in nats per example: terms of this rank whose mean over ranks is meant."""
        if not (self.config.controller.holds_constraint and self.config.controller.moves_beta):
            return
        means = torch.stack([distortion.detach(), rate.detach()])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(means)
            means = means / distributed.get_world_size()
        self.config.controller.observe(self, means[0], means[1])


def check_schedule(config: ObjectiveConfig, total_steps: int) -> None:
    """Raises ConfigError if a schedule is longer than the run, and so would never reach its end."""
    controller = config.controller
    steps = controller.steps_to_settle(total_steps)
    if steps >= total_steps:
        raise ConfigError(
            f"objective.controller.steps: the {controller.kind} takes {steps} steps and the run has {total_steps}, so "
            f"{controller.goal(config.beta)}; set it below 1 for a share of the run, such as 0.5, or train more epochs"
        )
