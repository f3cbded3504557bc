"""Progress of long work, from the code that does it to whoever listens in the same context.

Nobody listens by default, and a report is then free. Work in threads is counted by the thread that waits for it.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

ItemT = TypeVar("ItemT")

EVERY_SECONDS = 0.5
"""Minimum seconds between two reports of one part; the first and the last are always passed on."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Position of a stage in its present part."""

    part: str
    """Work of the part, such as "hashing"."""
    done: float = 0.0
    """Units done."""
    total: float | None = None
    """Units of the whole part; None if it is not known or cannot be counted."""
    unit: str = ""
    """Name of the units in the plural; empty for work that cannot be counted. `bytes` are shown as MB or GB."""
    note: str = ""
    """Remark on the position, such as the last validation loss."""


Listener = Callable[[Progress], None]
_listener: ContextVar[Listener | None] = ContextVar("progress", default=None)


def report(part: str, done: float = 0.0, total: float | None = None, unit: str = "", note: str = "") -> None:
    """Tells the listener of this context, if there is one, how far a part of the work is."""
    if (listener := _listener.get()) is not None:
        listener(Progress(part=part, done=done, total=total, unit=unit, note=note))


def counted(
    items: Iterable[ItemT], part: str, total: float | None, unit: str, size: Callable[[ItemT], float] = lambda item: 1
) -> Iterator[ItemT]:
    """Yields items, and reports each of them as done when the next one is asked for.

    Args:
        items: Pieces of the part.
        part: Work of the part.
        total: Units of all items.
        unit: Name of the units in the plural.
        size: Units of an item.
    """
    done = 0.0
    report(part, done, total, unit)
    for item in items:
        yield item
        done += size(item)
        report(part, done, total, unit)


def listen(listener: Listener) -> None:
    """Passes the reports of this context to a listener from now on; reports that follow too fast are left out."""
    _listener.set(_Sparse(listener))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Passes the reports of the block to a listener; reports that follow too fast are left out."""
    token = _listener.set(_Sparse(listener))
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Calls a function again and again in a thread, in the present context, while the block runs."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            call()

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(repeat,), name="betaline-progress", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Sparse:
    """Listener that passes on the beginning and the end of each part, and something every `EVERY_SECONDS` between."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.part, self.passed_at = "", 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        is_due = progress.part != self.part or now - self.passed_at >= EVERY_SECONDS or progress.done == progress.total
        if is_due:
            self.part, self.passed_at = progress.part, now
            self.listener(replace(progress, done=float(progress.done)))
