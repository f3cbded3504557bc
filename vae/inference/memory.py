"""The number of rows that a model processes at once, from a budget in bytes.

Memory per row differs by a factor of a thousand between models: a mixture of five logistics over a 3×64×64 image has
184,320 parameters, and its density makes several copies of them. So the memory of one row is measured, not assumed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from vae.model import VAE
from vae.parts.terms import Inputs

BUDGET_BYTES = 256 << 20
"""Default budget for the tensors of one chunk of rows, in bytes."""
CACHE_BYTES = 32 << 20
"""Budget where the same rows are decoded again and again on a CPU, in bytes. Measured for a conv model of 32x32 colour
images: chunks of 256 MiB, which leave the cache, take 1.7 times as long."""

MEASURED_ROWS = 2
"""Rows whose memory is measured, beside one for the tensors that all rows share."""

MOST_PROBABILITIES = 200_000_000
"""Largest number of probabilities of categories that are decoded for one figure of a report."""

_ROW_BYTES: weakref.WeakKeyDictionary[VAE, int] = weakref.WeakKeyDictionary()


@torch.no_grad()
def rows_within(model: VAE, budget_bytes: int | None = None) -> int:
    """Returns how many rows the model may encode, or latents it may decode, at once without gradients; at least 1.

    Encodes a few rows, decodes a few latents, and evaluates the likelihood's log density, mean and standard deviation. The
    largest number of bytes allocated at any time is the memory of a row. The measurement takes 1 to 30 ms, once per model.
    Kernels need up to half as much again for workspace of their own (1.5 times the budget was the most measured, for
    convolutions).

    Args:
        model: The model; its parameters and the input rows are not part of the budget.
        budget_bytes: Memory for all rows together; None for `BUDGET_BYTES`.
    """
    if model not in _ROW_BYTES:
        _ROW_BYTES[model] = _measure_row(model)
    return max(1, (BUDGET_BYTES if budget_bytes is None else budget_bytes) // _ROW_BYTES[model])


def draws_within(model: VAE) -> int:
    """Returns how many latents to decode at once where many are decoded for each row; at least 1."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    return rows_within(model, CACHE_BYTES if on_cpu else BUDGET_BYTES)


def _measure_row(model: VAE) -> int:
    """Returns the bytes that one row takes: what more rows take beyond one, without the tensors that all rows share."""
    return max(1, (_peak_of(model, 1 + MEASURED_ROWS) - _peak_of(model, 1)) // MEASURED_ROWS)


def _peak_of(model: VAE, num_rows: int) -> int:
    """Returns the bytes that some rows take together."""
    like = next(model.parameters())
    x = torch.zeros(num_rows, *model.examples.shape, device=like.device)
    condition = torch.zeros(num_rows, model.condition_dim, device=like.device) if model.condition_dim else None
    inputs = Inputs(x, observed=torch.ones_like(x, dtype=torch.bool), condition=condition)
    z_SBL = torch.zeros(1, num_rows, model.config.latent_dim, device=like.device)

    def decode() -> None:
        outputs = model.decode(z_SBL, condition)
        model.likelihood.log_prob(x, outputs, inputs.observed)
        model.likelihood.mean(outputs)
        model.likelihood.std(outputs)

    return max(_peak_bytes(lambda: model.encode(inputs)), _peak_bytes(decode))


def chunks(model: VAE, num_rows: int, num_samples: int = 1) -> Iterator[slice]:
    """Yields the consecutive rows that go through the model together; of no rows one empty chunk.

    Args:
        model: The model.
        num_rows: Rows in all.
        num_samples: Latents that are decoded for each row.
    """
    size = max(1, rows_within(model) // num_samples) if num_rows > 1 else 1
    return (slice(start, start + size) for start in range(0, max(num_rows, 1), size))


def affordable_rows(model: VAE, num_samples: int, most: int) -> int:
    """Returns how many rows to decode so that a figure's cost does not grow with the categories of a table's columns.

    They have `MOST_PROBABILITIES` probabilities of categories at most, which takes some ten seconds; there are 20 at least.

    Args:
        model: The model.
        num_samples: Latents that are decoded for each row.
        most: Number of rows of a model without categories.
    """
    categories = sum(len(column.categories or ()) for column in model.examples.columns or ())
    return min(most, max(20, MOST_PROBABILITIES // max(1, num_samples * categories)))


def _peak_bytes(run: Callable[[], object]) -> int:
    """Returns the largest number of bytes that the tensors made by a function take at any time."""
    with _LiveBytes() as live:
        run()
    return live.peak


class _LiveBytes(TorchFunctionMode):
    """Counts the bytes of the tensors made in this thread, from when each is made until it is freed.

    A `TorchDispatchMode` would see more, and imports torch._dynamo: one to two seconds and 100 MB.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._seen.update(id(storage) for storage in _storages((args, kwargs)))  # parameters and inputs do not count
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            self._count(storage)
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        """Counts a storage once, although several views share it."""
        if id(storage) not in self._seen:
            self._seen.add(id(storage))
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _forget(self, number: int, num_bytes: int) -> None:
        self._seen.remove(number)
        self.now -= num_bytes


def _storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    return (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
