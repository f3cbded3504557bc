"""Stacked weights of K models of one architecture, whose losses and gradients `torch.func.vmap` computes in one call.

Shapes: K lanes, S samples, B batch, L latent, N noise.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from vae.model import VAE
from vae.parts.terms import Inputs
from vae.training.lane_kernels import LaneKernels
from vae.training.state import Tensors
from vae.training.step import Step, StepInputs
from vae.training.validation import batch_vector

log = logging.getLogger(__name__)


class Stack:
    """Weights of K models of one architecture, one tensor [K,…] for each weight of a model."""

    def __init__(self, models: Sequence[VAE]) -> None:
        self.template = models[0]
        parameters, self.buffers = stack_module_state(list(models))  # pyright: ignore[reportArgumentType]
        trained = {name for name, value in self.template.named_parameters() if value.requires_grad}
        self.parameters = {name: value.detach().requires_grad_(name in trained) for name, value in parameters.items()}

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def lane(self, number: int) -> Tensors:
        """Returns the weights of one lane, as an ordinary model's `state_dict`; bit for bit."""
        stacked = self.parameters | self.buffers
        # Without the buffers that a model makes anew, such as the order of a table's columns.
        return {name: stacked[name].detach()[number].clone() for name in self.template.state_dict()}

    def with_parameters(self, parameters: Mapping[str, Tensor]) -> Stack:
        """Returns the same stack with other tensors for some of its weights."""
        other = copy.copy(self)
        other.parameters = {**self.parameters, **parameters}
        return other

    def keep(self, numbers: Sequence[int]) -> None:
        """Removes all other lanes."""
        self.parameters = {
            name: value.detach()[list(numbers)].requires_grad_(value.requires_grad)
            for name, value in self.parameters.items()
        }
        self.buffers = {name: value[list(numbers)] for name, value in self.buffers.items()}

    def tensors(self) -> Tensors:
        """Returns the tensors that a checkpoint stores."""
        return {name: value.detach() for name, value in (self.parameters | self.buffers).items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores what `tensors` returned, for as many lanes."""
        for name, value in (self.parameters | self.buffers).items():
            value.copy_(tensors[name])


def map_lanes(
    function: Callable[..., Any], weights: Mapping[str, Tensor], by_lane: Sequence[Any], shared: Sequence[Any]
) -> Any:
    """Returns a function of one lane's weights, computed for all lanes.

    Args:
        function: A function of the weights by name, then of one lane's `by_lane`, then of `shared`.
        weights: Weights of all lanes, tensors [K,…].
        by_lane: Arguments that differ between lanes: tensors [K,…], or tuples of such; None in a tuple stays None.
        shared: Arguments that all lanes share.
    """
    on_cpu = next(iter(weights.values())).device.type == "cpu"
    kernels = LaneKernels() if on_cpu and not torch.is_autocast_enabled("cpu") else nullcontext()
    dims = tree_map(lambda leaf: None if leaf is None else 0, tuple(by_lane))
    mapped = vmap(lambda weights, *args: function(weights, *args, *shared), in_dims=(0, *dims))
    with kernels:
        return mapped(weights, *by_lane)


class LaneNoise(NamedTuple):
    """Noise of a step for each lane; see `StepInputs`."""

    noise: Tensor
    """Noise of the posterior, [K,S,B,N]."""
    log_beta: Tensor | None
    """log β of each example, [K,B,1]; None for a model without β gates."""
    reference: Tensor | None
    """Noise of the prior, [K,B,N]; None unless a regulariser compares with the prior."""


def stack_losses(
    stack: Stack, step: Step, inputs: Inputs, drawn: LaneNoise, beta_K: Tensor, capacity_K: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the loss of each lane [K], and its distortion and rate without gradient [K,2], in nats per example."""

    def loss_of(weights: Tensors, drawn: LaneNoise, beta: Tensor, capacity: Tensor, inputs: Inputs) -> Any:
        lane = StepInputs(inputs._replace(log_beta=drawn.log_beta), drawn.noise, drawn.reference)
        named = {f"model.{name}": value for name, value in weights.items()}
        result = functional_call(step, named, (lane, beta, capacity))
        return result.loss, result.parts

    weights = stack.parameters | stack.buffers
    return map_lanes(loss_of, weights, (drawn, beta_K, capacity_K), (inputs,))


class Traced:
    """A function of nested tensors as a graph of tensor operations, traced at the first call for each set of shapes.

    The Python code of vmap and autograd costs more than the arithmetic of small models, and runs only while tracing. Other
    state that the function reads must not change. A function that cannot be traced runs as it is.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.graphs: dict[Any, Callable[..., Any]] = {}

    @property
    def is_traced(self) -> bool:
        """Whether every call so far ran a graph."""
        return all(isinstance(graph, GraphModule) for graph in self.graphs.values())

    def __call__(self, *arguments: Any) -> Any:
        """Returns the result of the function; the arguments are tensors, None, and tuples or mappings of them."""
        leaves, structure = tree_flatten(arguments)
        tensors = [leaf for leaf in leaves if leaf is not None]
        shapes = tuple(None if leaf is None else leaf.shape for leaf in leaves)
        graph = self.graphs.get(shapes)
        if graph is None:
            graph = self.graphs[shapes] = self._trace(leaves, structure, tensors)
        with torch.no_grad() if isinstance(graph, GraphModule) else nullcontext():
            return graph(*tensors)

    def _trace(self, leaves: Sequence[Tensor | None], structure: Any, tensors: Sequence[Tensor]) -> Callable[..., Any]:
        def of_tensors(*given: Tensor) -> Any:
            rest = iter(given)
            return self.function(*tree_unflatten([None if leaf is None else next(rest) for leaf in leaves], structure))

        try:
            return _simplified(make_fx(of_tensors)(*tensors))
        except Exception as error:  # tracing refuses in many ways; the model itself can be run
            log.info("the stack is run without a traced graph: %s", str(error).splitlines()[0] if str(error) else error)
            return of_tensors


def _simplified(graph: GraphModule) -> GraphModule:
    """Removes operations that change nothing from a graph: a quarter of those that vmap and autograd record."""
    for node in graph.graph.nodes:
        is_identity = node.target is torch.ops.aten.permute.default and list(node.args[1]) == [
            *range(len(node.args[1]))
        ]
        if is_identity or node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class StackGradients:
    """Losses and gradients of a stack.

    Args:
        stack: Weights of the lanes, whose number must not change.
        step: The step of the stack's template.
        autocast: Returns the context in which the losses, but not their gradients, are computed.
    """

    def __init__(
        self, stack: Stack, step: Step, autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        self.stack, self.step, self.autocast = stack, step, autocast
        self.trained = {name: value for name, value in stack.parameters.items() if value.requires_grad}
        self.traced = Traced(self._gradients_of)

    def __call__(self, inputs: Inputs, drawn: LaneNoise, beta_K: Tensor, capacity_K: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the result of `stack_losses`, and stores the gradients in the parameters."""
        loss_K, parts_K2, gradients = self.traced([*self.trained.values()], inputs, drawn, beta_K, capacity_K)
        for parameter, gradient in zip(self.trained.values(), gradients, strict=True):
            parameter.grad = gradient
        return loss_K, parts_K2

    def _gradients_of(self, weights: Sequence[Tensor], *arguments: Any) -> Any:
        stack = self.stack.with_parameters(dict(zip(self.trained, weights, strict=True)))
        with self.autocast():  # what it casts is part of the graph
            loss_K, parts_K2 = stack_losses(stack, self.step, *arguments)
        gradients = torch.autograd.grad(loss_K.sum(), weights, allow_unused=True)
        # Laid out as the weights are: the fused optimiser walks both in memory's order.
        return loss_K.detach(), parts_K2, [None if one is None else one.contiguous() for one in gradients]


class StackValidation:
    """Validation sums of a stack's lanes on the same noise.

    Args:
        step: The step of the stack's template.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.traced = Traced(self._vectors_of)

    def __call__(self, stack: Stack, clean: Inputs, inputs: StepInputs, beta_K: Tensor, capacity_K: Tensor) -> Tensor:
        """Returns the vector of `validation.batch_vector` of each lane, [K,…]; the template is in evaluation mode."""
        return self.traced(stack.parameters, stack.buffers, clean, inputs, beta_K, capacity_K)

    def _vectors_of(
        self,
        parameters: Tensors,
        buffers: Tensors,
        clean: Inputs,
        inputs: StepInputs,
        beta_K: Tensor,
        capacity_K: Tensor,
    ) -> Tensor:
        def vector_of(weights: Tensors, beta: Tensor, capacity: Tensor, clean: Inputs, inputs: StepInputs) -> Tensor:
            named = {f"step.model.{name}": value for name, value in weights.items()}
            return functional_call(_Validation(self.step), named, (clean, inputs, beta, capacity))

        return map_lanes(vector_of, parameters | buffers, (beta_K, capacity_K), (clean, inputs))


class _Validation(nn.Module):
    """Module around `batch_vector`, so that its weights can be swapped."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, clean: Inputs, inputs: StepInputs, beta: Tensor, capacity: Tensor) -> Tensor:
        return batch_vector(self.step, clean, inputs, beta, capacity)
