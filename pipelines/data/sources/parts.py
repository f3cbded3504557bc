"""Sources that are a few large arrays or tables: each part is loaded once in a process, and rows are taken
from it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.survey import Block


class Part(Protocol):
    """A run of a source's rows that is loaded at once. Hashable: a process keeps the last ones it loaded."""

    @property
    def first_row(self) -> int:
        """The position of its first row in the source."""
        ...

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        ...

    def load(self) -> Any:
        """The raw rows, in the source's own type: an array or a table."""
        ...

    def finish(self, raw: Any, rows: NDArray[np.int64]) -> NDArray[np.uint8] | pa.Table:
        """The examples at these positions of what was loaded, counted from the part's first row."""
        ...


class Loadable(Protocol):
    """Something large that a process loads once for many chunks. Hashable."""

    def load(self) -> Any:
        """What there is to load."""
        ...


# Two, because neighbouring chunks may end one part and begin the next.
@functools.lru_cache(maxsize=2)
def load_once(part: Loadable) -> Any:
    """What the part loads, kept for the next chunk that wants it."""
    return part.load()


def forget_parts() -> None:
    """Give back the memory of the parts this process loaded."""
    load_once.cache_clear()


@dataclass(frozen=True)
class PartsReader:
    """Reads rows of parts that follow one another."""

    parts: tuple[Part, ...]

    def read(self, rows: NDArray[np.int64]) -> Block:
        """See `Reader.read`."""
        starts = np.array([part.first_row for part in self.parts])
        owners = np.searchsorted(starts, rows, side="right") - 1
        kept, pieces = [], []
        for owner in np.unique(owners):
            part = self.parts[owner]
            mine = rows[owners == owner]
            pieces.append(part.finish(load_once(part), mine - part.first_row))
            kept.append(mine)
        return Block(np.concatenate(kept), _join(pieces))


def _join(pieces: Sequence[NDArray[np.uint8] | pa.Table]) -> NDArray[np.uint8] | pa.Table:
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], pa.Table):
        return pa.concat_tables(cast(list[pa.Table], pieces))
    return np.concatenate(cast(list[NDArray[np.uint8]], pieces))
