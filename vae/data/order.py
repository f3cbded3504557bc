"""The order of a split's rows in an epoch, which any number of workers walks.

Shapes: K steps of a window, P places of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae.draws import RowDraws
from vae.seeds import Stream


def places_of(rank: int, world_size: int, batch_size: int) -> range:
    """Returns the places of a batch that one rank takes; ranks differ by one place at most."""
    return range(batch_size * rank // world_size, batch_size * (rank + 1) // world_size)


@dataclass(frozen=True)
class Order:
    """Every step's rows, from (seed, epoch) and the split alone: not from ranks, nor from how rows are read.

    An epoch is cut into windows of whole batches. Where it takes several, the row groups are permuted first. Each place of
    a batch has a range of a window's rows to itself, which it takes in a drawn order: a rank reads the ranges of its places
    alone, and each batch has rows of the whole window. An epoch leaves out what does not fill a batch: others each time.
    """

    num_rows: int
    groups: Sequence[tuple[int, int]]
    """Row groups of the split, each as (first row, row after its last)."""
    batch_size: int
    seed: int
    window_rows: int
    """Most rows of a window; a window has one batch at least."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.num_rows // self.batch_size

    @property
    def steps_per_window(self) -> int:
        """Steps of each window but the last."""
        return min(self.steps_per_epoch, max(1, self.window_rows // self.batch_size))

    @property
    def num_windows(self) -> int:
        """Windows of an epoch."""
        return -(-self.steps_per_epoch // self.steps_per_window)

    def ranges(self, epoch: int, window: int, places: range) -> Iterator[tuple[int, int]]:
        """Yields the rows of a window that some places take, as ranges of the split, in the order that `rows` counts."""
        first, count = self._span(window)
        low, high = first + count * places.start // self.batch_size, first + count * places.stop // self.batch_size
        for start, stop in self._groups(epoch):
            size = stop - start
            if low < size and high > 0:
                yield start + max(low, 0), start + min(high, size)
            low, high = low - size, high - size

    def rows(self, epoch: int, window: int, places: range) -> Tensor:
        """Returns the rows of each step of a window, int64 [K,P], counted along `ranges`."""
        _, count = self._span(window)
        starts = torch.tensor([count * place // self.batch_size for place in (*places, places.stop)])
        sizes, longest = starts.diff(), -(-count // self.batch_size)
        draws = RowDraws(self.seed, Stream.PERMUTATION, epoch, window, first=places.start)
        keys_PN = draws.words(len(places), longest)
        keys_PN[torch.arange(longest) >= sizes[:, None]] = torch.iinfo(torch.int64).max
        steps = self._steps(window)
        return (keys_PN.argsort(dim=1, stable=True)[:, :steps] + (starts[:-1] - starts[0])[:, None]).T.contiguous()

    def row_numbers(self, epoch: int, step: int, places: range) -> Tensor:
        """Returns the rows of one step in the split, int64 [P]."""
        window, in_window = divmod(step, self.steps_per_window)
        numbers = np.concatenate([np.arange(*rows) for rows in self.ranges(epoch, window, places)])
        return torch.from_numpy(numbers)[self.rows(epoch, window, places)[in_window]]

    def _steps(self, window: int) -> int:
        return min(self.steps_per_window, self.steps_per_epoch - window * self.steps_per_window)

    def _span(self, window: int) -> tuple[int, int]:
        """Returns the first row of a window along the epoch's groups, and its rows; the last has what is left over."""
        first = window * self.steps_per_window * self.batch_size
        is_last = window == self.num_windows - 1
        return first, self.num_rows - first if is_last else self.steps_per_window * self.batch_size

    def _groups(self, epoch: int) -> Sequence[tuple[int, int]]:
        if self.num_windows == 1:
            return self.groups
        keys = RowDraws(self.seed, Stream.PERMUTATION, epoch).words(len(self.groups), 1)
        return [self.groups[index] for index in keys.flatten().argsort(stable=True).tolist()]
