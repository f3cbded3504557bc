"""Learning rates, moving averages of weights, and the optimiser of a model or of a stack of models.

Shapes: K lanes of a stack.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vae.config import TrainingConfig
from vae.errors import ConfigError

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Defaults of torch's AdamW."""


def learning_rate_at(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Returns the learning rate of an optimiser step, counted from 0."""
    rate, warmup = config.learning_rate, config.warmup_steps
    if step < warmup:
        return rate * (step + 1) / warmup
    if config.learning_rate_schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))
    return rate


@torch.no_grad()
def move_averages(averages: Iterable[Tensor], weights: Iterable[Tensor], decay: float, step: int) -> None:
    """Moves the averages of weights towards the weights after a step.

    `torch.optim.swa_utils.AveragedModel` does not fit: its first update copies the weights, and each update copies all
    buffers.

    Args:
        averages: Averages, in place.
        weights: Weights after the step, in the same order.
        decay: Decay per step; less during the first steps, so that the averages soon forget the start.
        step: Optimiser step, counted from 0.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for average, current in zip(averages, weights, strict=True):
        average.lerp_(current, 1 - decay)


def check_warmup(config: TrainingConfig, total_steps: int) -> None:
    """Raises if a run ends before its learning rate has risen.

    Raises:
        ConfigError: If the warm-up has as many steps as the run, or more.
    """
    if config.warmup_steps >= total_steps:
        raise ConfigError(
            f"training.warmup_steps: the learning rate would rise for {config.warmup_steps} steps and the run has "
            f"{total_steps}; shorten it or train more epochs"
        )


class AdamW:
    """AdamW over a model, or over a stack of models, each with a learning rate of its own, as if it were alone.

    `torch.optim` has no learning rate per element, and its first optimiser imports torch._dynamo: over a second. This
    class calls the kernel below `torch.optim.AdamW`, which requires weights and gradients to be contiguous.

    References:
        Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019). https://arxiv.org/abs/1711.05101

    Args:
        parameters: Weights by name; of a stack, [K,…] each.
        weight_decay: Decoupled weight decay.
        skips: Scalar on the device of the weights; steps taken while it is 1 change nothing. None skips no step.
    """

    def __init__(self, parameters: Mapping[str, Tensor], weight_decay: float, skips: Tensor | None = None) -> None:
        self.parameters = {name: value for name, value in parameters.items() if value.requires_grad}
        self.weight_decay, self.skips = weight_decay, skips
        self.means = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self.squares = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        first = next(iter(self.parameters.values()))
        self.step = torch.zeros((), device=first.device)

    @torch.no_grad()
    def advance(self, learning_rates: Sequence[float]) -> None:
        """Takes one step and clears the gradients; parameters without a gradient stay as they are.

        Args:
            learning_rates: Learning rate of each lane; of a single model, one.
        """
        self.step.add_(1)
        moved = {name: value for name, value in self.parameters.items() if value.grad is not None}
        groups = [
            list(moved.values()),
            [value.grad for value in moved.values()],
            [self.means[name] for name in moved],
            [self.squares[name] for name in moved],
        ]
        if len(set(learning_rates)) == 1:
            self._advance(groups, learning_rates[0])
        else:
            by_lane = [list(zip(*(tensor.unbind() for tensor in group), strict=True)) for group in groups]  # pyright: ignore
            for *lane, rate in zip(*by_lane, learning_rates, strict=True):
                self._advance([list(tensors) for tensors in lane], rate)
        if self.skips is not None:
            self.step.sub_(self.skips)
        for value in moved.values():
            value.grad = None

    def _advance(self, groups: list[list[Any]], learning_rate: float) -> None:
        parameters, gradients, means, squares = groups
        torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage, reportCallIssue]
            parameters,
            gradients,
            means,
            squares,
            [],
            [self.step] * len(parameters),
            lr=learning_rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=self.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=self.skips,
        )

    def keep(self, lanes: Sequence[int], parameters: Mapping[str, Tensor]) -> None:
        """Forgets all other lanes, and goes on with the parameters of those that stay."""
        self.parameters = {name: parameters[name] for name in self.parameters}
        self.means = {name: value[list(lanes)] for name, value in self.means.items()}
        self.squares = {name: value[list(lanes)] for name, value in self.squares.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors that a checkpoint stores."""
        named = {"mean": self.means, "square": self.squares}
        moments = {f"{kind}.{name}": value for kind, group in named.items() for name, value in group.items()}
        return {**moments, "step": self.step}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores what `tensors` returned, for as many lanes."""
        for name in self.parameters:
            self.means[name].copy_(tensors[f"mean.{name}"])
            self.squares[name].copy_(tensors[f"square.{name}"])
        self.step.copy_(tensors["step"])
