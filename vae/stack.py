"""The weights of K models of one architecture as one stack: their losses and gradients in one call, by `torch.func.vmap`.

Shapes: K lanes, S samples, B batch, L latent, N noise.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from vae.lane_kernels import LaneKernels
from vae.model import VAE, Inputs
from vae.state import Tensors
from vae.step import Draws, Step

log = logging.getLogger(__name__)


class Stack:
    """The weights of K models of one architecture, as one tensor [K,…] for each of theirs."""

    def __init__(self, models: Sequence[VAE]) -> None:
        self.template = models[0]
        parameters, self.buffers = stack_module_state(list(models))  # pyright: ignore[reportArgumentType]
        trained = {name for name, value in self.template.named_parameters() if value.requires_grad}
        self.parameters = {name: value.detach().requires_grad_(name in trained) for name, value in parameters.items()}

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def lane(self, number: int) -> Tensors:
        """The weights of one lane, as an ordinary model's `state_dict`; bit for bit."""
        return {name: value.detach()[number].clone() for name, value in (self.parameters | self.buffers).items()}

    def with_parameters(self, parameters: Mapping[str, Tensor]) -> Stack:
        """The same stack with other tensors for some of its weights."""
        other = copy.copy(self)
        other.parameters = {**self.parameters, **parameters}
        return other

    def keep(self, numbers: Sequence[int]) -> None:
        """Lets all other lanes go."""
        self.parameters = {
            name: value.detach()[list(numbers)].requires_grad_(value.requires_grad)
            for name, value in self.parameters.items()
        }
        self.buffers = {name: value[list(numbers)] for name, value in self.buffers.items()}

    def tensors(self) -> Tensors:
        """For a checkpoint."""
        return {name: value.detach() for name, value in (self.parameters | self.buffers).items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes up what `tensors` gave, of as many lanes."""
        for name, value in (self.parameters | self.buffers).items():
            value.copy_(tensors[name])

    def map(self, function: Callable[..., Any], by_lane: Sequence[Any], shared: Sequence[Any]) -> Any:
        """A function of one lane's weights, over all lanes.

        Args:
            function: Of the weights by name, of what each lane has of its own, and of what they share.
            by_lane: Tensors [K,…], and tuples of such; None in a tuple stays None.
            shared: What is the same for all.
        """
        on_cpu = next(iter(self.parameters.values())).device.type == "cpu"
        kernels = LaneKernels() if on_cpu and not torch.is_autocast_enabled("cpu") else nullcontext()
        dims = tree_map(lambda leaf: None if leaf is None else 0, tuple(by_lane))
        mapped = vmap(lambda weights, *args: function(weights, *args, *shared), in_dims=(0, *dims))
        with kernels:
            return mapped(self.parameters | self.buffers, *by_lane)


class LaneDraws(NamedTuple):
    """What a step draws for each lane."""

    noise: Tensor
    """[K,S,B,N]"""
    log_beta: Tensor | None
    """[K,B,1]"""
    reference: Tensor | None
    """[K,B,N]"""

    @classmethod
    def of(cls, draws: Sequence[Draws]) -> LaneDraws:
        """Those of the lanes, one after the other."""
        return cls(
            torch.stack([one.noise for one in draws]),
            _stacked([one.inputs.log_beta for one in draws]),
            _stacked([one.reference for one in draws]),
        )


def stack_losses(
    stack: Stack, step: Step, inputs: Inputs, drawn: LaneDraws, beta_K: Tensor, capacity_K: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss of each lane [K], and its [distortion, rate] without gradient [K,2], in nats per example."""

    def loss_of(weights: Tensors, drawn: LaneDraws, beta: Tensor, capacity: Tensor, inputs: Inputs) -> Any:
        draws = Draws(inputs._replace(log_beta=drawn.log_beta), drawn.noise, drawn.reference)
        named = {f"model.{name}": value for name, value in weights.items()}
        result = functional_call(step, named, (draws, beta, capacity))
        return result.loss, result.parts

    return stack.map(loss_of, (drawn, beta_K, capacity_K), (inputs,))


class StackGradients:
    """Losses and gradients of a stack, as a graph of tensor operations that is traced at the first call.

    What vmap and autograd do in Python costs more than the arithmetic of small models, and is done once. Shapes must stay;
    a model that cannot be traced is run as it is.

    Args:
        stack: Its weights; their number must stay.
        step: Of the stack's template.
        autocast: Makes the context that the losses, and not their gradients, are computed in.
    """

    def __init__(
        self, stack: Stack, step: Step, autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        self.stack, self.step, self.autocast = stack, step, autocast
        self.trained = {name: value for name, value in stack.parameters.items() if value.requires_grad}
        self.graph: Callable[..., Any] | None = None
        self.is_traced: bool | None = None

    def __call__(self, inputs: Inputs, drawn: LaneDraws, beta_K: Tensor, capacity_K: Tensor) -> tuple[Tensor, Tensor]:
        """See `stack_losses`; the gradients are left with the parameters."""
        leaves, structure = tree_flatten((inputs, drawn, beta_K, capacity_K))
        tensors = [leaf for leaf in leaves if leaf is not None]
        if self.graph is None:
            self._trace(leaves, structure, tensors)
            assert self.graph is not None, "traced, or run as it is"
        with torch.no_grad() if self.is_traced else nullcontext():
            loss_K, parts_K2, *gradients = self.graph(*self.trained.values(), *tensors)
        for parameter, gradient in zip(self.trained.values(), gradients, strict=True):
            parameter.grad = gradient
        return loss_K, parts_K2

    def _trace(self, leaves: Sequence[Tensor | None], structure: Any, tensors: Sequence[Tensor]) -> None:
        there = [leaf is not None for leaf in leaves]

        def gradients_of(*given: Tensor) -> tuple[Tensor | None, ...]:
            weights, rest = given[: len(self.trained)], iter(given[len(self.trained) :])
            arguments = tree_unflatten([next(rest) if one else None for one in there], structure)
            stack = self.stack.with_parameters(dict(zip(self.trained, weights, strict=True)))
            with self.autocast():  # what it casts is part of the graph
                loss_K, parts_K2 = stack_losses(stack, self.step, *arguments)
            gradients = torch.autograd.grad(loss_K.sum(), weights, allow_unused=True)
            # Laid out as the weights are: the fused optimiser walks both in memory's order.
            return loss_K.detach(), parts_K2, *(g if g is None else g.contiguous() for g in gradients)

        try:
            self.graph = make_fx(gradients_of)(*self.trained.values(), *tensors)
            self.is_traced = True
        except Exception as error:  # tracing refuses in many ways; the model itself can be run
            log.info("the stack is run without a traced graph: %s", str(error).splitlines()[0] if str(error) else error)
            self.graph, self.is_traced = gradients_of, False


def _stacked(values: Sequence[Tensor | None]) -> Tensor | None:
    found = [value for value in values if value is not None]
    return torch.stack(found) if found else None
