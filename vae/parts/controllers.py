"""Controllers: what sets β at a step. Steps are optimiser steps, never epochs."""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import Tensor, distributed

from vae.config import Capacity, Constant, ControlVae, Cyclical, FreeBits, Geco, MultiRate, ObjectiveConfig, Warmup
from vae.config.objective import steps_of
from vae.errors import ConfigError

GECO_RANGE = math.log(1e6)
RATE_TOLERANCE = 0.03
"""Share of a held rate within which an epoch counts as holding it; less than the 5 % that is promised of the shipped model,
whose rate is measured on other data."""
DISTORTION_SLACK = 0.1
"""Part of a target distortion by which GECO may lie below it and count as settled; it aims at the middle of this range."""
DISTORTION_MARGIN = 0.025
"""Part of a target distortion by which an epoch lies below it that counts as holding it: the model that ships is to reach
the target on other data too."""
LARGEST_VIOLATION = 0.1
"""Relative violation of a distortion above which GECO moves β no faster. An untrained model is far above any target:
without a limit, β would fall a thousandfold before the model has had time to learn, and take most of the run to return."""
LEAD_STEPS = 50
"""Steps by which the present violation counts in advance; this damps the swings of GECO around its target."""


class Controller:
    """Sets β, and the capacity where there is one, before each step, and looks at what the step came to.

    Everything it knows is in `state`, a vector on the device that is equal on every rank and goes into the checkpoint.

    Args:
        config: The objective.
        total_steps: Optimiser steps of the run, of which a schedule may be a share.
        device: Device of β, so that setting it costs no synchronisation.
    """

    def __init__(self, config: ObjectiveConfig, total_steps: int, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.total_steps = total_steps
        self.beta = torch.full((), config.beta, device=device)
        self.capacity = torch.zeros((), device=device)
        self.state = torch.zeros(2, device=device)
        """GECO: moving average of the violation, and minus its integral times the speed. ControlVAE: error and integral."""

    def prepare(self, step: int) -> None:
        """Sets `beta` and `capacity` for an optimiser step, counted from 0."""
        match self.config.controller:
            case Geco(speed=speed):
                self.beta.copy_(self.config.beta * torch.exp(self.state[1] - speed * LEAD_STEPS * self.state[0]))
            case ControlVae():
                self._control(self.config.controller)
            case Capacity(capacity=capacity, start=start):
                steps = steps_to_settle(self.config, self.total_steps)
                self.capacity.fill_(capacity * min(1.0, max(0, step - start) / (steps - start)))
            case _:
                self.beta.fill_(beta_at(self.config, step, self.total_steps))

    def settled(self) -> tuple[Tensor, Tensor]:
        """Returns β and the capacity as they are once a schedule has ended; of GECO and ControlVAE, as they are now."""
        match self.config.controller:
            case Geco() | ControlVae():
                return self.beta, self.capacity
            case Capacity(capacity=capacity):
                return self.beta, torch.full_like(self.capacity, capacity)
            case _:
                return torch.full_like(self.beta, self.config.beta), self.capacity

    def observe(self, distortion: Tensor, rate: Tensor) -> None:
        """Takes in a step's mean distortion and rate on this rank, in nats per example."""
        controller = self.config.controller
        if not isinstance(controller, Geco | ControlVae):
            return
        means = torch.stack([distortion.detach(), rate.detach()])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(means)
            means = means / distributed.get_world_size()
        match controller:
            case Geco(distortion=target, decay=decay, speed=speed):
                violation = (means[0] - target) / max(1.0, abs(target)) + DISTORTION_SLACK / 2
                self.state[0].lerp_(violation.clamp(-LARGEST_VIOLATION, LARGEST_VIOLATION), 1 - decay)
                # Above the target the distortion must count for more: β falls.
                self.state[1].sub_(speed * self.state[0]).clamp_(-GECO_RANGE, GECO_RANGE)
            case ControlVae(rate=set_point):
                self.state[0] = set_point - means[1]

    def _control(self, config: ControlVae) -> None:
        """β = K_p / (1 + exp(e)) − K_i Σ e + β_min, the integral held while β is at a bound (Shao et al. 2020, eq. 7)."""
        error, integral = self.state
        proposed = config.proportional * torch.sigmoid(-error) - config.integral * (integral + error) + config.lowest
        inside = (proposed >= config.lowest) & (proposed <= config.highest)
        self.state[1] = torch.where(inside, integral + error, integral)
        self.beta.copy_(proposed.clamp(config.lowest, config.highest))


def beta_at(config: ObjectiveConfig, step: int, total_steps: int) -> float:
    """Returns β at an optimiser step, counted from 0, of a controller that only looks at the step."""
    match config.controller:
        case Warmup(steps=length):
            return config.beta * min(1.0, step / steps_of(length, total_steps))
        case Cyclical(steps=length, cycles=cycles, rising=rising):
            steps = steps_of(length, total_steps)
            return config.beta * (1.0 if step >= steps * cycles else min(1.0, step % steps / (steps * rising)))
        case _:
            return config.beta


def constraint_gap(config: ObjectiveConfig, distortion: float, rate: float) -> float:
    """Returns the nats by which what the controller holds lies outside its tolerance; 0 where it is held, or nothing is."""
    match config.controller:
        case Geco(distortion=target):
            return max(0.0, distortion - target + DISTORTION_MARGIN * max(1.0, abs(target)))
        case ControlVae(rate=target) | Capacity(capacity=target):
            return max(0.0, abs(rate - target) - RATE_TOLERANCE * target)
        case _:
            return 0.0


def at_constraint(config: ObjectiveConfig, distortion: float, rate: float) -> bool:
    """Whether the constraint is held, and no better than it has to be: GECO passes far below its target on its way."""
    slack = 0.0
    if isinstance(config.controller, Geco):
        target = config.controller.distortion
        slack = (target - distortion) / max(1.0, abs(target))
    return not constraint_gap(config, distortion, rate) and slack <= DISTORTION_SLACK


def holds_constraint(config: ObjectiveConfig) -> bool:
    """Whether the controller holds a rate or a distortion."""
    return isinstance(config.controller, Geco | ControlVae | Capacity)


def steps_to_settle(config: ObjectiveConfig, total_steps: int) -> int:
    """Returns the optimiser steps after which β no longer changes by schedule."""
    match config.controller:
        case Warmup(steps=steps) | Capacity(steps=steps):
            return steps_of(steps, total_steps)
        case Cyclical(steps=steps, cycles=cycles):
            return steps_of(steps, total_steps) * cycles
        case Constant() | FreeBits() | Geco() | ControlVae() | MultiRate():
            return 0
        case _:
            assert_never(config.controller)


def check_schedule(config: ObjectiveConfig, total_steps: int) -> None:
    """Refuses a schedule that would not end within the run.

    Raises:
        ConfigError: A schedule longer than the run, which would never have come to what it leads to.
    """
    steps = steps_to_settle(config, total_steps)
    match config.controller:
        case Capacity(capacity=capacity):
            goal = f"the capacity would never reach {capacity}"
        case Cyclical(cycles=cycles):
            goal = f"its {cycles} cycles would never end"
        case _:
            goal = f"beta would never reach {config.beta}"
    if steps >= total_steps:
        raise ConfigError(
            f"objective.controller.steps: the {config.controller.kind} takes {steps} steps and the run has {total_steps}, "
            f"so {goal}; set it below 1 for a share of the run, such as 0.5, or train more epochs"
        )
