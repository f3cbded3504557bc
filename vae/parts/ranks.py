"""Collectives over the ranks of a run, with gradients.

Shapes: B rows of this rank, W rows of all ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from vae.data.order import places_of

_batch_size: ContextVar[int | None] = ContextVar("_batch_size", default=None)


@contextmanager
def sharing(batch_size: int) -> Iterator[None]:
    """Makes `gather` return the rows of all ranks, which share batches of a size; every rank must then call it as often."""
    token = _batch_size.set(batch_size)
    try:
        yield
    finally:
        _batch_size.reset(token)


def own_places() -> range | None:
    """Returns this rank's places of the batch that it shares; None outside of `sharing`, or with one rank."""
    batch_size = _batch_size.get()
    if batch_size is None or not (distributed.is_available() and distributed.is_initialized()):
        return None
    if distributed.get_world_size() == 1:
        return None
    return places_of(distributed.get_rank(), distributed.get_world_size(), batch_size)


def weight_of(num_rows: int) -> float:
    """Returns the weight of a mean over this rank's rows in the mean over ranks, so that it is the mean over all rows."""
    batch_size = _batch_size.get()
    return 1.0 if own_places() is None or batch_size is None else num_rows * distributed.get_world_size() / batch_size


def gather(x: Tensor) -> Tensor:
    """Returns the rows of all ranks, [W,…], the same on each; with one rank, or outside of `sharing`, `x` itself.

    A loss that every rank computes from gathered rows has, after the ranks' gradients of it times `weight_of` have been
    averaged, the gradient of that loss on the whole batch.
    """
    return x if own_places() is None else _Gather.apply(x, _batch_size.get())  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, batch_size: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        world_size = distributed.get_world_size()
        every = [places_of(rank, world_size, batch_size) for rank in range(world_size)]
        context.own = every[distributed.get_rank()]
        # Collectives take equal shapes.
        most = max(map(len, every))
        padded = F.pad(x, (0, 0) * (x.ndim - 1) + (0, most - len(x))).contiguous()
        everything = [torch.empty_like(padded) for _ in every]
        distributed.all_gather(everything, padded)
        return torch.cat([rows[: len(places)] for rows, places in zip(everything, every, strict=True)])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient[context.own.start : context.own.stop], None
