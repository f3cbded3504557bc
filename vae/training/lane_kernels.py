"""Kernels that carry a stack of models through `torch.func.vmap` faster than vmap's own rules do on a CPU.

Under vmap a linear layer's gradient comes in the layout of the transposed weight and is copied, and a fused loss falls into
a dozen elementwise operations. Here both are one call for the whole stack, in float32 and without autocast.

Shapes: K lanes, B batch, I inputs, O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class LaneKernels(TorchFunctionMode):
    """Mode in which linear layers and cross entropies take a stack's weights in one call; for use inside vmap alone."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and len(args) == 3 and args[0].ndim == 2 and args[2] is not None:
            return _Linear.apply(*args)
        options = {name: value for name, value in (kwargs or {}).items() if value is not None}
        if func is F.binary_cross_entropy_with_logits and options == {"reduction": "none"}:
            return _CrossEntropy.apply(*args)
        return func(*args, **(kwargs or {}))


class _Linear(Function):
    """Linear layer of a lane: x [B,I], weight [O,I] and bias [O] to [B,O]."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Saves nothing: only `vmap` runs, and the functions that it calls save what their gradients need."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, int]:
        x_dim, weight_dim, bias_dim = in_dims
        if weight_dim is None:  # a layer that all lanes share
            return F.linear(x, weight, bias), x_dim
        weight_KOI, bias_KO = weight.movedim(weight_dim, 0), bias.movedim(bias_dim, 0)
        if x_dim is None:
            return _SharedLinear.apply(x, weight_KOI, bias_KO), 0  # pyright: ignore[reportReturnType]
        return _StackedLinear.apply(x.movedim(x_dim, 0), weight_KOI, bias_KO), 0  # pyright: ignore[reportReturnType]


class _StackedLinear(Function):
    """Linear layers of all lanes: inputs of each lane, [K,B,I], to [K,B,O]."""

    @staticmethod
    def forward(ctx: Any, x_KBI: Tensor, weight_KOI: Tensor, bias_KO: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x_KBI, weight_KOI)
        return torch.baddbmm(bias_KO[:, None], x_KBI, weight_KOI.mT)

    @staticmethod
    def backward(ctx: Any, gradient_KBO: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:  # pyright: ignore
        x_KBI, weight_KOI = ctx.saved_tensors
        to_x = torch.bmm(gradient_KBO, weight_KOI) if ctx.needs_input_grad[0] else None
        return to_x, torch.bmm(gradient_KBO.mT, x_KBI), gradient_KBO.sum(1)


class _SharedLinear(Function):
    """Linear layers of all lanes on the same inputs, [B,I] to [K,B,O], as one product of matrices."""

    @staticmethod
    def forward(ctx: Any, x_BI: Tensor, weight_KOI: Tensor, bias_KO: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x_BI, weight_KOI)
        outputs = torch.addmm(bias_KO.flatten(), x_BI, weight_KOI.flatten(0, 1).T)
        return outputs.unflatten(1, bias_KO.shape).movedim(1, 0)

    @staticmethod
    def backward(ctx: Any, gradient_KBO: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:  # pyright: ignore
        x_BI, weight_KOI = ctx.saved_tensors
        gradient_BM = gradient_KBO.movedim(0, 1).flatten(1)
        to_x = gradient_BM @ weight_KOI.flatten(0, 1) if ctx.needs_input_grad[0] else None
        return to_x, (gradient_BM.T @ x_BI).view_as(weight_KOI), gradient_KBO.sum(1)


class _CrossEntropy(Function):
    """−log p of binary values of a lane, from logits of the same shape."""

    @staticmethod
    def forward(logits: Tensor, target: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Saves nothing: only `vmap` runs, and the functions that it calls save what their gradients need."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, int]:
        logits_dim, target_dim = in_dims
        assert logits_dim is not None, "every lane has a decoder of its own"
        logits = logits.movedim(logits_dim, 0)
        target = target if target_dim is None else target.movedim(target_dim, 0)
        return F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none"), 0
