"""Batches: the ways of a worker's share of a split to the model, resident in memory or streamed, behind one interface.

Shapes: N rows of the share, B rows of a batch, C channels, H height, W width, D columns of a table (or values of an image),
A attributes. Both feeds walk one `Order` of the split, in which each rank has some places of every batch. A position in it
is one number, and resuming in mid-epoch, on any number of ranks, is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vae.data.binarization import Binarization
from vae.data.missing import Logistic, MissingConfig, fit_logistic, without_hidden
from vae.data.order import Order, places_of
from vae.data.parquet import Dataset, rows_per_block
from vae.data.rows import Rows, empty_rows, fill, holds_gaps
from vae.data.transforms import transform_of
from vae.errors import ConfigError


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
    """A contiguous range of a split's rows, which ingest has already shuffled."""

    dataset: Dataset
    split: str
    start: int
    stop: int
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
        device: torch.device | str = "cpu",
        binarization: Binarization | None = None,
        missing: MissingConfig | None = None,
    ) -> Share:
        """Returns a whole split.

        Raises:
            ConfigError: If such a dataset's entries cannot go missing in that way.
        """
        logistic = None if missing is None else fit_logistic(dataset, missing)
        return cls(dataset, split, 0, dataset.num_rows(split), torch.device(device), binarization, missing, logistic)

    def batches_of(self, rank: int, world_size: int, batch_size: int) -> Share:
        """Returns one rank's rows where each rank takes whole batches of the share."""
        count = -(-self.num_rows // batch_size)
        start, stop = (min(self.num_rows, count * one // world_size * batch_size) for one in (rank, rank + 1))
        return replace(self, start=self.start + start, stop=self.start + stop)

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
        for block in self.dataset.blocks(
            self.split, start, stop, rows_per_block(self.dataset.manifest.example, self.row_bytes)
        ):
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

    order: Order
    """Rows of every step."""
    places: range
    """Places of this rank in each batch of all ranks."""
    held_bytes: int
    """Bytes of data that the feed may hold at once."""

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields this rank's part of the batches of an epoch, from a step on."""
        ...


def open_feed(
    share: Share,
    *,
    rank: int = 0,
    world_size: int = 1,
    batch_size: int,
    seed: int,
    mode: str = "auto",
    memory_budget_bytes: int,
) -> Feed:
    """Returns the feed of one rank.

    Args:
        share: The split.
        rank: The rank, which takes its places of every batch.
        world_size: Ranks that share every batch.
        batch_size: Rows of a step over all ranks.
        seed: Seed of the order.
        mode: `resident`, `streaming`, or `auto`, which is resident where the split fits the budget.
        memory_budget_bytes: Data that all ranks may hold together. A streaming feed takes a few MB at least.

    Raises:
        ConfigError: If the split has fewer rows than one step takes.
    """
    rows, size = share.num_rows, share.num_rows * share.row_bytes
    if batch_size > rows:
        raise ConfigError(
            f"training.batch_size: one step takes {batch_size} examples, the {share.split} split of "
            f"{share.dataset.uri} has {rows}; use a smaller batch"
        )
    fits = size <= memory_budget_bytes
    # A third of the budget is for the window in use, one for the window being read, and one for what reading takes: pages,
    # and blocks on their way into the window.
    window_rows = rows if fits else memory_budget_bytes // (3 * share.row_bytes)
    order = Order(rows, share.dataset.row_groups(share.split), batch_size, seed, window_rows)
    places = places_of(rank, world_size, batch_size)
    if mode == "resident" or (mode == "auto" and fits):
        return ResidentFeed(share, order, places)
    return StreamingFeed(share, order, places, min(size, memory_budget_bytes))


class ResidentFeed:
    """The rows that a rank's places may take in one contiguous tensor on the device, indexed by the order."""

    def __init__(self, share: Share, order: Order, places: range) -> None:
        self.order, self.places = order, places
        # In a single window the places keep their rows from epoch to epoch.
        self.is_fixed = order.num_windows == 1
        ranges = [*order.ranges(0, 0, places)] if self.is_fixed else [(0, order.num_rows)]
        self.rows = share.load(ranges[0][0], ranges[-1][1])
        self.held_bytes = len(self.rows) * share.row_bytes

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields this rank's part of the batches of an epoch, from a step on."""
        order, device = self.order, self.rows.values.device
        number, skipped = divmod(first_step, order.steps_per_window)
        for window in range(number, order.num_windows):
            rows = order.rows(epoch, window, self.places)
            if not self.is_fixed:
                rows = torch.cat([torch.arange(*one) for one in order.ranges(epoch, window, self.places)])[rows]
            for rows_P in rows[skipped:].to(device):
                yield self.rows.gather(rows_P)
            skipped = 0


class StreamingFeed:
    """Row groups read in the background into windows, for splits that do not fit in memory."""

    def __init__(self, share: Share, order: Order, places: range, held_bytes: int) -> None:
        self.share, self.order, self.places = share, order, places
        self.held_bytes = held_bytes

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields this rank's part of the batches of an epoch, from a step on."""
        number, skipped = divmod(first_step, self.order.steps_per_window)
        for window in self._windows(epoch, number):
            rows = self.order.rows(epoch, number, self.places)
            for rows_P in rows[skipped:].to(window.values.device):
                yield window.gather(rows_P)
            number, skipped = number + 1, 0
            del window  # as `enumerate` would not: there would be three while the next but one is read

    def _windows(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yields the rows of this rank's places in each window from the first on; the next one is read ahead."""
        numbers = range(first, self.order.num_windows)
        ranges = [list(self.order.ranges(epoch, number, self.places)) for number in numbers]
        counts = [sum(stop - start for start, stop in window) for window in ranges]
        if not counts:
            return
        rows = _Concatenated(self.share, joined(chain.from_iterable(ranges)))
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="betaline-feed") as reader:
            ahead = reader.submit(rows.take, counts[0])
            for following in [*counts[1:], 0]:
                window = self.share.to_device(ahead.result())
                # The last window is forgotten before the next but one is made.
                if following:
                    ahead = reader.submit(rows.take, following)
                yield window


def joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yields ranges, with those that go on where the one before ends as one."""
    begun: tuple[int, int] | None = None
    for start, stop in ranges:
        if begun is not None and begun[1] == start:
            begun = begun[0], stop
            continue
        if begun is not None:
            yield begun
        begun = start, stop
    if begun is not None:
        yield begun


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
        share: The rows.
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
