"""Work of a survey in parts, which the caller of an ingest spreads over processes or machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

PartT = TypeVar("PartT")
ResultT = TypeVar("ResultT")
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


def spread(function: Callable[[PartT], ResultT], parts: Sequence[PartT]) -> Iterable[ResultT]:
    """Returns the results of a picklable function of each part, in any order."""
    return _SPREAD.get()(function, parts)
