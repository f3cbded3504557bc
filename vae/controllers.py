"""Controllers: what sets β at a step. Steps are optimiser steps, never epochs."""

from __future__ import annotations

from typing import assert_never

from vae.config import Constant, ObjectiveConfig, Warmup
from vae.errors import ConfigError


def beta_at(config: ObjectiveConfig, step: int) -> float:
    """β at an optimiser step, counted from 0."""
    match config.controller:
        case Constant():
            return config.beta
        case Warmup(steps=steps):
            return config.beta * min(1.0, step / steps)
        case _:
            assert_never(config.controller)


def steps_to_settle(config: ObjectiveConfig) -> int:
    """Optimiser steps after which β no longer changes by schedule."""
    match config.controller:
        case Constant():
            return 0
        case Warmup(steps=steps):
            return steps
        case _:
            assert_never(config.controller)


def check_schedule(config: ObjectiveConfig, total_steps: int) -> None:
    """Refuses a schedule that would not end within the run.

    Raises:
        ConfigError: A warm-up longer than the run, after which β would never have been reached.
    """
    steps = steps_to_settle(config)
    if steps >= total_steps:
        raise ConfigError(
            f"objective.controller.steps: the warm-up takes {steps} steps and the run has {total_steps}, so beta would "
            f"never reach {config.beta}; shorten the warm-up or train more epochs"
        )
