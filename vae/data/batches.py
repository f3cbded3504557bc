"""Batches: the ways of a worker's share of a split to the model, resident in memory or streamed, behind one interface.

Shapes: N rows of the share, B rows of a batch, C channels, H height, W width, D columns of a table (or values of an image),
A attributes. Both feeds follow one rule: the share is a
contiguous range of rows, an epoch is an order of it derived from (seed, rank, epoch), and step k of the epoch is rows
[k·B, (k+1)·B) of that order. A position is therefore one number, and resuming in mid-epoch is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vae.data.binarization import Binarization
from vae.data.missing import Logistic, MissingConfig, fit_logistic, without_hidden
from vae.data.parquet import Dataset
from vae.data.rows import Rows, empty_rows, fill, holds_gaps
from vae.data.transforms import transform_of
from vae.errors import ConfigError
from vae.seeds import Stream, derive

BLOCK_BYTES = 1 << 20
"""Bytes read at a time."""


@dataclass(frozen=True)
class Batch:
    """Examples on the device."""

    values: Tensor
    """uint8 [B,C,H,W] of images; float64 [B,D] of tables, categories as codes, NaN where missing."""
    labels: Tensor | None = None
    """Class indices, int64, [B]"""
    attributes: Tensor | None = None
    """float32 [B,A] in the order of the manifest's attributes, categories as codes, NaN where missing."""
    observed: Tensor | None = None
    """Mask of the observed values of images, bool [B,C,H,W]; None where all are. Tables have NaN instead."""

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: slice) -> Batch:
        """Returns a view of some examples."""
        labels, attributes, observed = (
            None if field is None else field[index] for field in (self.labels, self.attributes, self.observed)
        )
        return Batch(self.values[index], labels, attributes, observed)

    def gather(self, index_B: Tensor) -> Batch:
        """Returns a copy of some examples."""
        labels, attributes, observed = self.labels, self.attributes, self.observed
        return Batch(  # spelt out: it is on every step's way
            # index_select beats indexing by a tensor, which goes through the general gather.
            self.values.index_select(0, index_B),
            None if labels is None else labels.index_select(0, index_B),
            None if attributes is None else attributes.index_select(0, index_B),
            None if observed is None else observed.index_select(0, index_B),
        )


@dataclass(frozen=True)
class Share:
    """One rank's part of a split: a contiguous range of rows, which ingest has already shuffled."""

    dataset: Dataset
    split: str
    start: int
    stop: int
    rank: int
    device: torch.device
    binarization: Binarization | None = None
    """Policy of a Bernoulli likelihood; None for likelihoods over grey pixels."""
    missing: MissingConfig | None = None
    """Entries to hide; None for none."""
    logistic: Logistic | None = None
    """Probability of each entry to be hidden; None for hidden completely at random."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        split: str,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        binarization: Binarization | None = None,
        missing: MissingConfig | None = None,
    ) -> Share:
        """Returns the share of one of `world_size` ranks; shares differ by one row at most.

        Raises:
            ConfigError: If such a dataset's entries cannot go missing in that way.
        """
        rows = dataset.num_rows(split)
        start, stop = rows * rank // world_size, rows * (rank + 1) // world_size
        logistic = None if missing is None else fit_logistic(dataset, missing)
        return cls(dataset, split, start, stop, rank, torch.device(device), binarization, missing, logistic)

    @property
    def num_rows(self) -> int:
        """Rows of the share."""
        return self.stop - self.start

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's values and attributes, and of the mask of its pixels."""
        example, attributes = self.dataset.manifest.example, self.dataset.manifest.attributes
        return example.row_bytes * (2 if self._has_mask else 1) + 4 * len(attributes)

    @property
    def _has_mask(self) -> bool:
        return self.missing is not None and not holds_gaps(empty_rows(self.dataset.manifest.example, 0).values)

    def read(self, start: int, stop: int) -> Rows:
        """Reads rows [start, stop) of the split at once, binarised by the policy, without hidden entries."""
        return self._prepared(self.dataset.read_rows(self.split, start, stop), start)

    def blocks(self, start: int, stop: int) -> Iterator[Rows]:
        """Yields the same rows in order, some at a time.

        In NumPy and one thread: torch would open a second pool of threads here, which spins against the training's own.
        """
        for block in self.dataset.blocks(self.split, start, stop, max(1, BLOCK_BYTES // self.row_bytes)):
            yield self._prepared(block, start)
            start += len(block.values)

    def empty(self, num_rows: int) -> Rows:
        """Returns rows to be filled, as `read` returns them."""
        rows = empty_rows(self.dataset.manifest.example, num_rows)
        return rows._replace(observed=np.empty(rows.values.shape, bool)) if self._has_mask else rows

    def _prepared(self, rows: Rows, start: int) -> Rows:
        transform = transform_of(self.dataset.manifest.example)
        values = transform.binarized(rows.values, self.binarization, self.split, start, self.dataset.uri)
        rows = rows._replace(values=values)
        return rows if self.missing is None else without_hidden(rows, self.missing, self.split, start, self.logistic)

    def to_device(self, rows: Rows) -> Batch:
        """Returns rows as a batch on the device."""
        shape = (-1, *self.dataset.manifest.example.shape)
        # Torch has no read-only tensors, so a view of Arrow's memory is copied.
        values = torch.from_numpy(rows.values if rows.values.flags.writeable else rows.values.copy())
        labels, attributes, observed = (
            None if field is None else torch.from_numpy(field).to(self.device) for field in rows[1:]
        )
        return Batch(
            values.to(self.device).view(shape),
            labels,
            attributes,
            None if observed is None else observed.view(shape),
        )

    def load(self, start: int, stop: int) -> Batch:
        """Reads rows [start, stop) of the split onto the device."""
        return self.to_device(self.read(start, stop))


class Feed(Protocol):
    """Source of the training loop's batches."""

    steps_per_epoch: int
    """Steps of an epoch; the same on every rank."""
    held_bytes: int
    """Bytes of data that the feed may hold at once."""

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from a step on, in the order that (seed, rank, epoch) gives."""
        ...

    def row_numbers(self, epoch: int, step: int) -> Tensor:
        """Returns the numbers in the split of the rows of one batch, int64 [B]."""
        ...


def open_feed(
    share: Share, *, world_size: int, batch_size: int, seed: int, mode: str = "auto", memory_budget_bytes: int
) -> Feed:
    """Returns the feed of one rank's share.

    Args:
        share: The rank's rows.
        world_size: Ranks that share the split.
        batch_size: Rows per step on this rank.
        seed: Seed of the permutations.
        mode: `resident`, `streaming`, or `auto`, which is resident while the share fits the budget.
        memory_budget_bytes: Data that this rank may hold. A streaming feed takes a few MB at least, whatever it is.

    Raises:
        ConfigError: If the split has fewer rows than one step takes.
    """
    rows = share.dataset.num_rows(share.split)
    steps = (rows // world_size) // batch_size
    if not steps:
        raise ConfigError(
            f"training.batch_size: one step takes {batch_size * world_size} examples, the {share.split} split of "
            f"{share.dataset.uri} has {rows}; use a smaller batch"
        )
    fits = share.num_rows * share.row_bytes <= memory_budget_bytes
    if mode == "resident" or (mode == "auto" and fits):
        return ResidentFeed(share, steps, batch_size, seed)
    return StreamingFeed(share, steps, batch_size, seed, memory_budget_bytes)


class ResidentFeed:
    """The whole share in one contiguous tensor on the device, indexed by a permutation."""

    def __init__(self, share: Share, steps_per_epoch: int, batch_size: int, seed: int) -> None:
        self.rank = share.rank
        self.start = share.start
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.seed = seed
        self.rows = share.load(share.start, share.stop)
        self.held_bytes = share.num_rows * share.row_bytes

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from a step on."""
        order = permutation(len(self.rows), self.seed, self.rank, epoch).to(self.rows.values.device)
        for step in range(first_step, self.steps_per_epoch):
            yield self.rows.gather(order[step * self.batch_size : (step + 1) * self.batch_size])

    def row_numbers(self, epoch: int, step: int) -> Tensor:
        """Returns the numbers in the split of the rows of one batch, int64 [B]."""
        order = permutation(len(self.rows), self.seed, self.rank, epoch)
        return self.start + order[step * self.batch_size : (step + 1) * self.batch_size]


class StreamingFeed:
    """Row groups read in the background into shuffle windows, for shares that do not fit in memory.

    An epoch is a permutation of the share's row groups, cut into windows of whole batches; rows are permuted inside a
    window. A third of the budget is for the window in use, one for the window being read, and one for what reading takes:
    pages, and blocks on their way into the window.
    """

    def __init__(
        self, share: Share, steps_per_epoch: int, batch_size: int, seed: int, memory_budget_bytes: int
    ) -> None:
        self.share = share
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.seed = seed
        self.held_bytes = memory_budget_bytes
        self.steps_per_window = max(1, memory_budget_bytes // (3 * share.row_bytes * batch_size))
        self.groups = [
            (max(start, share.start), min(stop, share.stop))
            for start, stop in share.dataset.row_groups(share.split)
            if stop > share.start and start < share.stop
        ]

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from a step on."""
        number = first_step // self.steps_per_window
        for window in self._windows(epoch, number):
            order = permutation(len(window), self.seed, self.share.rank, epoch, number + 1)
            order = order.to(window.values.device)
            start = number * self.steps_per_window
            for step in range(max(first_step, start), min(start + self.steps_per_window, self.steps_per_epoch)):
                yield window.gather(order[(step - start) * self.batch_size : (step - start + 1) * self.batch_size])
            number += 1
            del window  # as `enumerate` would not: there would be three while the next but one is read

    def row_numbers(self, epoch: int, step: int) -> Tensor:
        """Returns the numbers in the split of the rows of one batch, int64 [B]."""
        number, place = divmod(step, self.steps_per_window)
        first = number * self.steps_per_window * self.batch_size
        length = min(self.steps_per_window * self.batch_size, self.share.num_rows - first)
        ranges = [torch.arange(start, stop) for start, stop in self._ranges(epoch, first)]
        order = permutation(length, self.seed, self.share.rank, epoch, number + 1)
        return torch.cat(ranges)[:length][order[place * self.batch_size : (place + 1) * self.batch_size]]

    def _windows(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yields the epoch's windows from the first on, in the order they are read; the next one is read ahead."""
        window_rows = self.steps_per_window * self.batch_size
        # Rows that are left over for less than a batch need not be read.
        starts = range(first * window_rows, self.steps_per_epoch * self.batch_size, window_rows)
        counts = [min(window_rows, self.share.num_rows - start) for start in starts]
        if not counts:
            return
        rows = _Concatenated(self.share, self._ranges(epoch, first * window_rows))
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="betaline-feed") as reader:
            ahead = reader.submit(rows.take, counts[0])
            for following in [*counts[1:], 0]:
                window = self.share.to_device(ahead.result())
                # The last window is forgotten before the next but one is made.
                if following:
                    ahead = reader.submit(rows.take, following)
                yield window

    def _ranges(self, epoch: int, skip: int) -> Iterator[tuple[int, int]]:
        """Yields the row groups in the epoch's order, without their first `skip` rows."""
        for index in permutation(len(self.groups), self.seed, self.share.rank, epoch).tolist():
            start, stop = self.groups[index]
            if skip < stop - start:
                yield start + skip, stop
            skip = max(0, skip - (stop - start))


class _Concatenated:
    """The rows of some ranges, one after the other, as many at a time as asked for."""

    def __init__(self, share: Share, ranges: Iterable[tuple[int, int]]) -> None:
        self.share = share
        self.blocks = chain.from_iterable(share.blocks(start, stop) for start, stop in ranges)
        self.rest = share.empty(0)

    def take(self, num_rows: int) -> Rows:
        """Returns the next rows in memory of their own. There must be as many."""
        taken, filled = self.share.empty(num_rows), 0
        while filled < num_rows:
            if not len(self.rest.values):
                self.rest = next(self.blocks)
            now = min(num_rows - filled, len(self.rest.values))
            fill(taken, filled, self.rest.each(lambda field, now=now: field[:now]))
            self.rest = self.rest.each(lambda field, now=now: field[now:])
            filled += now
        return taken


class InOrder:
    """Every row of a share once, in the order of the dataset, as often as it is iterated; for evaluation.

    Args:
        share: The rank's rows.
        batch_size: Rows per batch; the last one may be shorter.
        memory_budget_bytes: A share within it is read once and kept.
    """

    def __init__(self, share: Share, batch_size: int = 1024, memory_budget_bytes: int = 2 * 1024**3) -> None:
        self.share = share
        self.batch_size = batch_size
        fits = share.num_rows * share.row_bytes <= memory_budget_bytes
        self.rows = share.load(share.start, share.stop) if fits else None

    def __iter__(self) -> Iterator[Batch]:
        reader = _Concatenated(self.share, [(self.share.start, self.share.stop)])
        for start in range(0, self.share.num_rows, self.batch_size):
            stop = min(self.share.num_rows, start + self.batch_size)
            if self.rows is None:
                yield self.share.to_device(reader.take(stop - start))
            else:
                yield self.rows.take(slice(start, stop))


def permutation(size: int, seed: int, *keys: int) -> Tensor:
    """Returns a permutation of range(size), int64, that depends on the seed and the keys alone."""
    generator = torch.Generator().manual_seed(derive(seed, Stream.PERMUTATION, *keys))
    return torch.randperm(size, generator=generator)
