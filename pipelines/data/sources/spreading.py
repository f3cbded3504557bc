"""Work of a survey in parts, which the caller of an ingest spreads over processes or machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from vae import progress

ResultT = TypeVar("ResultT")
PART_FILES, PART_BYTES = 500, 64 << 20
"""Largest number of files of a part, and the bytes from which on it takes no further file."""
Spread = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""Calls a picklable function with each of some parts; returns the results in any order."""

_SPREAD: ContextVar[Spread] = ContextVar("spread", default=map)


@contextmanager
def spread_by(how: Spread) -> Iterator[None]:
    """Has the surveys of a block spread their work in this way; by default it is done in this process."""
    token = _SPREAD.set(how)
    try:
        yield
    finally:
        _SPREAD.reset(token)


class Files(NamedTuple):
    """Some consecutive files of a source: one part of its survey."""

    number: int
    """Number of the part."""
    paths: list[str]
    sizes: list[int]

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(self.sizes)


def spread(function: Callable[[Files], ResultT], paths: Sequence[str], sizes: Sequence[int]) -> list[ResultT]:
    """Returns the results of a picklable function of parts of the files, in the order of the files."""
    parts = _parts(paths, sizes)
    results = _SPREAD.get()(_Numbered(function), parts)
    size = lambda result: parts[result[0]].num_bytes  # noqa: E731
    counted = progress.counted(results, "reading and hashing", sum(sizes), "bytes", size)
    return [result for _, result in sorted(counted, key=lambda result: result[0])]


@dataclass(frozen=True)
class _Numbered:
    """A function of a part that also returns the part's number."""

    function: Callable[[Files], Any]

    def __call__(self, part: Files) -> tuple[int, Any]:
        return part.number, self.function(part)


def _parts(paths: Sequence[str], sizes: Sequence[int]) -> list[Files]:
    """Returns the files in parts, each of `PART_FILES` files or of at least `PART_BYTES`, but for the last."""
    parts, num_bytes = [Files(0, [], [])], 0
    for path, size in zip(paths, sizes, strict=True):
        if len(parts[-1].paths) == PART_FILES or num_bytes >= PART_BYTES:
            parts.append(Files(len(parts), [], []))
            num_bytes = 0
        parts[-1].paths.append(path)
        parts[-1].sizes.append(size)
        num_bytes += size
    return parts
