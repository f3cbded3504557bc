"""Segments of a source: runs of rows that a process loads at once and keeps for the neighbouring chunks."""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.survey import Block

Examples = NDArray[np.uint8] | pa.Table


class Loadable(Protocol):
    """A large value that a process loads once for several chunks. Hashable."""

    def load(self) -> Any:
        """Returns the value."""
        ...


@dataclass(frozen=True, kw_only=True)
class Segment(ABC):
    """A run of a source's rows, loaded at once in the source's own type: an array or a table. Hashable."""

    num_rows: int

    @abstractmethod
    def load(self) -> Any:
        """Returns all rows of the segment."""

    @abstractmethod
    def take(self, loaded: Any, rows: NDArray[np.int64]) -> Examples:
        """Returns the examples at some positions of the loaded rows, counted from the segment's first row."""


def starts_of(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Returns the first row of each of several files or segments that follow one another."""
    return np.cumsum([0, *sizes])[:-1]


# Of which one may need another.
_loading = threading.RLock()


# Two, because neighbouring chunks may end one segment and begin the next.
@functools.lru_cache(maxsize=2)
def _load(segment: Loadable) -> Any:
    return segment.load()


def load_once(segment: Loadable) -> Any:
    """Returns what the segment loads, and keeps it for the next chunk; threads that want the same wait for one another."""
    with _loading:
        return _load(segment)


def forget_segments() -> None:
    """Frees the memory of the segments that this process has loaded."""
    _load.cache_clear()


@dataclass(frozen=True)
class SegmentReader:
    """A reader of segments that follow one another."""

    segments: tuple[Segment, ...]

    def read(self, rows: NDArray[np.int64]) -> Block:
        """Reads the examples at some positions; see `Reader.read`."""
        starts = starts_of([segment.num_rows for segment in self.segments])
        owners = np.searchsorted(starts, rows, side="right") - 1
        kept, pieces = [], []
        for owner in np.unique(owners):
            segment, mine = self.segments[owner], rows[owners == owner]
            pieces.append(segment.take(load_once(segment), mine - starts[owner]))
            kept.append(mine)
        return Block(np.concatenate(kept), _join(pieces))


def _join(pieces: Sequence[Examples]) -> Examples:
    if isinstance(pieces[0], pa.Table):
        return pa.concat_tables(cast(list[pa.Table], pieces))
    return pieces[0] if len(pieces) == 1 else np.concatenate(cast(list[NDArray[np.uint8]], pieces))
