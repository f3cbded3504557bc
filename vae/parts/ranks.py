"""Collectives over the ranks of a run, with gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, distributed

_is_alone: ContextVar[bool] = ContextVar("_is_alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Makes `gather` return this rank's rows, for ranks that validate different numbers of batches."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def gather(x: Tensor) -> Tensor:
    """Returns the rows of all ranks, [world·B,…], the same on each; with one rank, or inside `alone`, `x` itself.

    A loss that every rank computes from gathered rows has, after DistributedDataParallel has averaged the ranks' gradients,
    the gradient of that loss on the whole batch.
    """
    if _is_alone.get() or not (distributed.is_available() and distributed.is_initialized()):
        return x
    if distributed.get_world_size() == 1:
        return x
    return _Gather.apply(x)  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        everything = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(everything, x.contiguous())
        return torch.cat(everything)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]
