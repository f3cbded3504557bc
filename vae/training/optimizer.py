"""The optimiser: torch's fused AdamW without what `torch.optim` does in Python around it, and its learning rate.

Shapes: K lanes of a stack.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vae.config import TrainingConfig
from vae.errors import ConfigError

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""The defaults of torch's AdamW."""


def learning_rate_at(config: TrainingConfig, step: int, total_steps: int) -> float:
    """The learning rate of an optimiser step, counted from 0."""
    rate, warmup = config.learning_rate, config.warmup_steps
    if step < warmup:
        return rate * (step + 1) / warmup
    if config.learning_rate_schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))
    return rate


def ema_decay_at(decay: float, step: int) -> float:
    """The decay of the average of weights at a step, counted from 0: less at first, so that it soon forgets the start."""
    return min(decay, (1 + step) / (10 + step))


def check_warmup(config: TrainingConfig, total_steps: int) -> None:
    """Refuses a run that ends before its learning rate has risen.

    Raises:
        ConfigError: Says how many steps the run has.
    """
    if config.warmup_steps >= total_steps:
        raise ConfigError(
            f"training.warmup_steps: the learning rate would rise for {config.warmup_steps} steps and the run has "
            f"{total_steps}; shorten it or train more epochs"
        )


class _Lists(NamedTuple):
    """What the kernel takes, parameter by parameter."""

    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    """One tensor for all."""


class FusedAdamW(torch.optim.AdamW):
    """AdamW whose `advance` is `step`, bit for bit, in less time: it looks for its state once, not at every step.

    With the eight parameters of a small MLP that is 30 µs instead of 130, a fiftieth of a training step on a CPU.

    References:
        Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019). https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float] = BETAS,
    ) -> None:
        super().__init__(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)
        self.found_inf: Tensor | None = None
        """A scalar; while it is 1 the kernel leaves every parameter and moment as it is. None updates always."""
        self._lists: _Lists | None = None

    @torch.no_grad()
    def advance(self) -> None:
        """One step. Every parameter must have a gradient, at every step or at none."""
        if self._lists is None:
            self.step()  # the first one makes the state
            self._lists = self._collect()
            return
        parameters, means, squares, steps = self._lists
        group = self.param_groups[0]
        steps[0].add_(1)
        torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage, reportCallIssue]
            parameters,
            [parameter.grad for parameter in parameters],  # pyright: ignore[reportArgumentType]
            means,
            squares,
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            found_inf=self.found_inf,
        )

    def _collect(self) -> _Lists:
        parameters = [parameter for parameter in self.param_groups[0]["params"] if parameter in self.state]
        states = [self.state[parameter] for parameter in parameters]
        step = states[0]["step"]
        for state in states:
            state["step"] = step
        return _Lists(
            parameters,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [step] * len(states),
        )

    def state_dict(self) -> dict[str, Any]:
        """As torch's: each parameter with a step of its own."""
        found = super().state_dict()
        states = {number: {**state, "step": state["step"].clone()} for number, state in found["state"].items()}
        return {**found, "state": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; the state that was collected is forgotten."""
        super().load_state_dict(state_dict)
        self._lists = None


class StackedAdamW:
    """AdamW over a stack of models, each with a learning rate of its own: elementwise, and so to each lane as if alone.

    Weights and gradients must be contiguous, which the fused kernel takes for granted.

    Args:
        parameters: Stacked, [K,…].
        weight_decay: Decoupled, of every lane.
    """

    def __init__(self, parameters: Mapping[str, Tensor], weight_decay: float) -> None:
        self.parameters = {name: value for name, value in parameters.items() if value.requires_grad}
        self.weight_decay = weight_decay
        self.means = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self.squares = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        first = next(iter(self.parameters.values()))
        self.step = torch.zeros((), device=first.device)

    @torch.no_grad()
    def advance(self, learning_rates: Sequence[float]) -> None:
        """One step, with a learning rate for each lane; the gradients are used up. What has none stays as it is."""
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
        )

    def keep(self, lanes: Sequence[int], parameters: Mapping[str, Tensor]) -> None:
        """Goes on with the parameters of some lanes."""
        self.parameters = {name: parameters[name] for name in self.parameters}
        self.means = {name: value[list(lanes)] for name, value in self.means.items()}
        self.squares = {name: value[list(lanes)] for name, value in self.squares.items()}

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        named = {"mean": self.means, "square": self.squares}
        found = {f"{kind}.{name}": value for kind, group in named.items() for name, value in group.items()}
        return {**found, "step": self.step}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes up what `tensors` gave, of as many lanes."""
        for name in self.parameters:
            self.means[name].copy_(tensors[f"mean.{name}"])
            self.squares[name].copy_(tensors[f"square.{name}"])
        self.step.copy_(tensors["step"])
