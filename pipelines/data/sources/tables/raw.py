"""Rows of a table as its files hold them, before anything is known of its columns."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from vae.errors import DataError

MOST_COLUMNS = 4096
"""Most columns that an array, or a column of lists, becomes."""


class Places(Sequence[int]):
    """Growing numbers that mostly follow one another, in the memory of their gaps."""

    def __init__(self) -> None:
        self._starts, self._numbers, self._length = array("q"), array("q"), 0

    def extend(self, numbers: Sequence[int]) -> None:
        """Adds numbers at the end."""
        for run in [numbers] if isinstance(numbers, range) else [(number,) for number in numbers]:
            if not self._length or run[0] != self._numbers[-1] + self._length - self._starts[-1]:
                self._starts.append(self._length)
                self._numbers.append(run[0])
            self._length += len(run)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: int) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]  no slices
        if not 0 <= place < self._length:
            raise IndexError(place)
        run = bisect_right(self._starts, place) - 1
        return self._numbers[run] + place - self._starts[run]


@dataclass(frozen=True)
class RawTable:
    """Rows of one file, or of several. Shapes: N rows."""

    table: pa.Table
    """Values as the file has them: text of a text file, typed values of others."""
    places: Sequence[int]
    """Number of each row that a user can look up, [N]: its line from 1 in a text file, its position from 0 elsewhere."""
    malformed: NDArray[np.bool_]
    """Whether each row has no values because it cannot be read, [N]."""
    problems: tuple[Problem, ...] = ()
    """One for each malformed row."""
    notes: tuple[str, ...] = ()
    """Sentences about what a person may not expect of the file or of its reading."""
    is_text: bool = False
    """Whether the values are text whose meaning is to be found out."""
    splits: NDArray[np.uint8] | None = None
    """The source's own split of each row, as an index into SPLITS, [N]."""

    @classmethod
    def typed(cls, table: pa.Table, notes: Sequence[str] = ()) -> RawTable:
        """Returns the rows of a file that has types."""
        number = len(table)
        return cls(table, range(number), np.zeros(number, bool), notes=tuple(notes))


ReadFile = Callable[[BinaryIO, str, IngestConfig], RawTable]
"""Reads the rows of one file, opened at its beginning, and known by its name."""


def check_same_columns(
    first: pa.Schema, other: pa.Schema, first_path: str, path: str, *, is_text: bool = False
) -> None:
    """Checks that a file has the first one's columns, and the same types unless they are to be found out.

    Raises:
        DataError: If not; names the columns that are missing, extra, or of another type.
    """
    if first.names == other.names and (is_text or first.types == other.types):
        return
    old, new = ({field.name: str(field.type) for field in schema} for schema in (first, other))
    missing, extra = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    changes = [f"missing {', '.join(missing)}"] if missing else []
    changes += [f"extra {', '.join(extra)}"] if extra else []
    changes += [
        f"{name!r} is {new[name]}, expected {old[name]}" for name in old if name in new and old[name] != new[name]
    ]
    raise DataError(
        f"{path}: columns differ from {first_path}'s: {'; '.join(changes) or 'another order'}. Give all files the same "
        "columns and types"
    )
