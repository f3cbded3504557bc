"""The networks of a model in another precision. Inputs, outputs, densities and latents stay float32.

Each of the encoder's and the decoder's networks, where nearly all weights and products are, casts what it takes.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vae.model import VAE

Precision = Literal["float32", "float16", "bfloat16"]

TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest difference d from the model's value v that an export may have, in d ≤ tolerance · (1 + |v|)."""


def in_precision(network: VAE, precision: Precision = "float32", *, computes: bool = True) -> VAE:
    """Returns a copy of a model whose encoder and decoder have weights of a precision.

    Args:
        network: The model, in float32.
        precision: Precision of the weights.
        computes: Whether to compute in it too; else the weights are cast to float32 when they are used.
    """
    copy = deepcopy(network).cpu().eval().requires_grad_(False)
    if precision != "float32":
        body = Computing if computes else Storing
        for name in ("encoder", "decoder"):
            setattr(copy, name, body(getattr(copy, name), getattr(torch, precision)))
    return copy


class Computing(nn.Module):
    """A network that computes in a lower precision and returns float32."""

    def __init__(self, body: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.body = body.to(dtype)
        self.dtype = dtype

    def forward(self, *inputs: Any) -> Tensor:
        """Returns the network's output."""
        return self.body(*(_cast(one, self.dtype) for one in inputs)).float()


class Storing(nn.Module):
    """A network that stores its weights in a lower precision and computes in float32."""

    def __init__(self, body: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        for module in list(body.modules()):
            for name, weight in list(module.named_parameters(recurse=False)):
                weight.data = weight.data.to(dtype)
                parametrize.register_parametrization(module, name, _Float(), unsafe=True)
        self.body = body

    def forward(self, *inputs: Any) -> Tensor:
        """Returns the network's output."""
        return self.body(*inputs)


class _Float(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Returns an input with its fractional tensors in a precision; those of a context, a named tuple, as well."""
    if isinstance(value, tuple):
        return type(value)(*(_cast(one, dtype) for one in value))
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
