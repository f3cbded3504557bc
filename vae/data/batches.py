"""Batches: how a worker's share of a split reaches the model, resident in memory or streamed, behind one interface.

Shapes: N rows of the share, B rows of a batch, C channels, H height, W width. Both feeds follow one rule: the share is a
contiguous range of rows, an epoch is an order of it derived from (seed, rank, epoch), and step k of the epoch is rows
[k·B, (k+1)·B) of that order. A position is therefore one number, and resuming in mid-epoch is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.manifest import SPLITS, ImageSpec
from vae.data.parquet import Dataset, Rows
from vae.errors import ConfigError, DataError
from vae.likelihoods import check_binary
from vae.seeds import Stream, derive

Binarization = Literal["none", "static", "dynamic"]

STATIC_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Batch:
    """Some examples, on the device."""

    pixels: Tensor
    """uint8, [B,C,H,W]"""
    labels: Tensor | None
    """Class indices, int64, [B]"""

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, index: Tensor | slice) -> Batch:
        return Batch(self.pixels[index], None if self.labels is None else self.labels[index])


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

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        split: str,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        binarization: Binarization | None = None,
    ) -> Share:
        """The share of one of `world_size` ranks; shares differ by one row at most."""
        rows = dataset.num_rows(split)
        start, stop = rows * rank // world_size, rows * (rank + 1) // world_size
        return cls(dataset, split, start, stop, rank, torch.device(device), binarization)

    @property
    def num_rows(self) -> int:
        return self.stop - self.start

    @property
    def row_bytes(self) -> int:
        return image_spec(self.dataset).row_bytes

    def read(self, start: int, stop: int) -> Rows:
        """Rows [start, stop) of the split, binarised by the policy, in NumPy: safe and quick beside the training thread.

        Torch would open a second pool of threads here, which spins against the training's own.
        """
        rows = self.dataset.read_rows(self.split, start, stop)
        if self.binarization == "static":
            return rows._replace(pixels=static_binarization(rows.pixels, start, self.split))
        if self.binarization == "none":
            check_binary(rows.pixels, f"{self.dataset.uri}, {self.split} rows {start} to {stop}")
        return rows

    def to_device(self, rows: Rows) -> Batch:
        example = image_spec(self.dataset)
        # Torch has no read-only tensors, so a view of Arrow's memory is copied.
        pixels = torch.from_numpy(rows.pixels if rows.pixels.flags.writeable else rows.pixels.copy())
        labels = None if rows.labels is None else torch.from_numpy(rows.labels).to(self.device)
        shape = (-1, example.channels, example.height, example.width)
        return Batch(pixels.to(self.device).view(shape), labels)

    def load(self, start: int, stop: int) -> Batch:
        """Rows [start, stop) of the split, on the device."""
        return self.to_device(self.read(start, stop))


def image_spec(dataset: Dataset) -> ImageSpec:
    """Shape of a dataset's images.

    Raises:
        DataError: If the dataset holds a table.
    """
    example = dataset.manifest.example
    if not isinstance(example, ImageSpec):
        raise DataError(f"{dataset.uri} holds a table; this version trains on images. Ingest images to train on them")
    return example


def static_binarization(pixels_ND: NDArray[np.uint8], first_row: int, split: str) -> NDArray[np.uint8]:
    """One fixed binary draw of each pixel: 255 with its grey value / 255 as probability, else 0.

    A pixel's draw depends on its split and row alone: not on which range it is read in, nor on the run's seed, so that two
    models are scored on the same binary images.
    """
    drawn = np.empty_like(pixels_ND)
    row = 0
    while row < len(pixels_ND):
        block, offset = divmod(first_row + row, STATIC_BLOCK_ROWS)
        stop = min(len(pixels_ND), row + STATIC_BLOCK_ROWS - offset)
        generator = np.random.Generator(
            np.random.PCG64(derive(0, Stream.STATIC_BINARIZATION, SPLITS.index(split), block))
        )
        shape = (offset + stop - row, pixels_ND.shape[1])
        threshold = generator.integers(255, size=shape, dtype=np.uint8)[offset:]
        drawn[row:stop] = np.where(threshold < pixels_ND[row:stop], 255, 0)
        row = stop
    return drawn


class Feed(Protocol):
    """What the training loop takes its batches from."""

    steps_per_epoch: int
    """The same on every rank."""

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from a step on, in the order that (seed, rank, epoch) gives."""
        ...


def open_feed(
    share: Share, *, world_size: int, batch_size: int, seed: int, mode: str = "auto", memory_budget_bytes: int
) -> Feed:
    """The feed of one rank's share.

    Args:
        share: The rank's rows.
        world_size: Ranks that share the split.
        batch_size: Rows per step on this rank.
        seed: Of the permutations.
        mode: `resident`, `streaming`, or `auto`, which is resident while the share fits the budget.
        memory_budget_bytes: Pixels that this rank may hold.

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
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.seed = seed
        self.rows = share.load(share.start, share.stop)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        order = permutation(len(self.rows), self.seed, self.rank, epoch).to(self.rows.pixels.device)
        for step in range(first_step, self.steps_per_epoch):
            index = order[step * self.batch_size : (step + 1) * self.batch_size]
            # index_select beats indexing by a tensor, which goes through the general gather.
            pixels = self.rows.pixels.index_select(0, index)
            labels = None if self.rows.labels is None else self.rows.labels.index_select(0, index)
            yield Batch(pixels, labels)


class StreamingFeed:
    """Row groups read in the background into shuffle windows, for shares that do not fit in memory.

    An epoch is a permutation of the share's row groups, cut into windows; rows are permuted inside a window. At any time
    there are one window in use, one being read, and the copies that permuting makes: a quarter of the budget each.
    """

    def __init__(
        self, share: Share, steps_per_epoch: int, batch_size: int, seed: int, memory_budget_bytes: int
    ) -> None:
        self.share = share
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.seed = seed
        self.window_rows = max(batch_size, memory_budget_bytes // (4 * share.row_bytes))
        self.segments = [
            (max(start, share.start), min(stop, share.stop))
            for start, stop in share.dataset.row_groups(share.split)
            if stop > share.start and start < share.stop
        ]

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        skip = first_step * self.batch_size
        remaining = self.steps_per_epoch - first_step
        carried: list[Batch] = []
        for window in self._windows(epoch, skip):
            rows = concatenate([*carried, window])
            whole = len(rows) // self.batch_size * self.batch_size
            for start in range(0, whole, self.batch_size):
                if not remaining:
                    return
                yield rows.take(slice(start, start + self.batch_size))
                remaining -= 1
            carried = [rows.take(slice(whole, None))]

    def _windows(self, epoch: int, skip: int) -> Iterator[Batch]:
        """The epoch's windows, each permuted, without its first `skip` rows; the next one is read ahead."""
        plans = []
        for number, segments in enumerate(self._plan(epoch)):
            rows = sum(stop - start for start, stop in segments)
            if skip < rows:
                plans.append((number, segments, skip))
            skip = max(0, skip - rows)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="betaline-feed") as reader:
            ahead: Future[Rows] | None = None
            for plan in [*plans, None]:
                ready, ahead = ahead, plan and reader.submit(self._read_window, epoch, *plan)
                if ready is not None:
                    yield self.share.to_device(ready.result())

    def _plan(self, epoch: int) -> list[list[tuple[int, int]]]:
        """The row ranges of each window of an epoch."""
        windows: list[list[tuple[int, int]]] = []
        filled = self.window_rows
        for index in permutation(len(self.segments), self.seed, self.share.rank, epoch).tolist():
            start, stop = self.segments[index]
            if filled + stop - start > self.window_rows:
                windows.append([])
                filled = 0
            windows[-1].append((start, stop))
            filled += stop - start
        return windows

    def _read_window(self, epoch: int, number: int, segments: Sequence[tuple[int, int]], skip: int) -> Rows:
        parts = [self.share.read(start, stop) for start, stop in segments]
        rows = sum(len(part.pixels) for part in parts)
        order = permutation(rows, self.seed, self.share.rank, epoch, number + 1)[skip:].numpy()
        pixels = np.concatenate([part.pixels for part in parts]) if len(parts) > 1 else parts[0].pixels
        labels = [part.labels for part in parts if part.labels is not None]
        return Rows(pixels.take(order, axis=0), np.concatenate(labels).take(order) if labels else None)


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
        for start in range(self.share.start, self.share.stop, self.batch_size):
            stop = min(self.share.stop, start + self.batch_size)
            if self.rows is None:
                yield self.share.load(start, stop)
            else:
                yield self.rows.take(slice(start - self.share.start, stop - self.share.start))


def permutation(size: int, seed: int, *keys: int) -> Tensor:
    """A permutation of range(size), int64, that depends on the seed and the keys alone."""
    generator = torch.Generator().manual_seed(derive(seed, Stream.PERMUTATION, *keys))
    return torch.randperm(size, generator=generator)


def concatenate(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return Batch(torch.cat([batch.pixels for batch in batches]), torch.cat(labels) if labels else None)
