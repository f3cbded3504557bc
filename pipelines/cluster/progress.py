"""Speed and time left of a stage, worked out from the progress that its job reports."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from vae.progress import Progress

MEASURED_SECONDS, WINDOW_SECONDS = 1.0, 30.0
"""Smallest and largest number of seconds over which a speed is averaged."""
QUIET_SECONDS = 10.0
"""Seconds without a report after which a stage is said to be quiet."""
SCALES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


class Meter:
    """Position, speed and time left of one stage.

    Args:
        now: Clock in seconds.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self.now = now or time.monotonic
        self.started = self.now()
        self.latest = Progress(part="starting")
        self.part_started = self.started
        self.ended: float | None = None
        """Time at which the stage ended; None before."""
        self._samples: deque[tuple[float, float]] = deque()

    def take(self, progress: Progress) -> None:
        """Takes in a report; one of another part, or of a part that begins anew, starts a new measurement."""
        now = self.now()
        if progress.part != self.latest.part or progress.done < self.latest.done:
            self.part_started = now
            self._samples.clear()
        self.latest, self.ended = progress, None
        self._samples.append((now, progress.done))
        # The newest of the samples that are too old stays: it begins the window.
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()

    def end(self) -> None:
        """Notes that the stage has ended."""
        self.ended = self.now()

    @property
    def seconds(self) -> float:
        """Seconds since the stage began, up to its end."""
        return (self.now() if self.ended is None else self.ended) - self.started

    @property
    def share(self) -> float | None:
        """Share of the part that is done, from 0 to 1; None if it cannot be counted."""
        return min(1.0, self.latest.done / self.latest.total) if self.latest.total else None

    @property
    def rate(self) -> float | None:
        """Units per second over the last `WINDOW_SECONDS` with reports; None before `MEASURED_SECONDS` of them."""
        (first, before), (last, done) = (self._samples[0], self._samples[-1]) if self._samples else ((0, 0), (0, 0))
        return (done - before) / (last - first) if last - first >= MEASURED_SECONDS and done > before else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the part ends at its present speed; None if that is unknown or has been exceeded."""
        if self.rate is None or self.latest.total is None or self.latest.done >= self.latest.total:
            return None
        left = (self.latest.total - self.latest.done) / self.rate - (self.now() - self._samples[-1][0])
        return left if left > 0 else None

    def words(self) -> str:
        """Returns the part, how much of it is done, its speed, and the time left; or since when it goes on."""
        figures = ", ".join(filter(None, [*self.figures(), self.latest.note]))
        return f"{self.latest.part}{': ' if self.latest.unit else ', '}{figures}" if figures else self.latest.part

    def figures(self) -> list[str]:
        """Returns how much of the part is done, its speed and the time left; or since when it goes on."""
        latest, now = self.latest, self.now()
        words = [self._amount()] if latest.unit else []
        if self.rate is not None:
            words.append(f"{amount(self.rate, latest.unit)}/s")
        if self.seconds_left is not None:
            words.append(f"{clock(self.seconds_left)} left")
        elif not latest.unit and now - self.part_started >= 1:
            words.append(f"for {clock(now - self.part_started)}")
        if self._samples and latest.unit and now - self._samples[-1][0] >= QUIET_SECONDS:
            words.append(f"last report {clock(now - self._samples[-1][0])} ago")
        return words

    def _amount(self) -> str:
        latest = self.latest
        if latest.total is None:
            return amount(latest.done, latest.unit)
        whole = amount(latest.total, latest.unit)
        return f"{amount(latest.done, latest.unit).removesuffix(f' {latest.unit}')} of {whole}"


def amount(number: float, unit: str) -> str:
    """Returns a number with its unit, such as `1,200 examples`, `3.5 files` or `1.2 GB`."""
    if unit == "bytes":
        scale, unit = next((scale for scale in SCALES if number >= scale[0]), SCALES[-1])
        number /= scale
    return f"{number:,.0f} {unit}" if number >= 100 or number == round(number) else f"{number:,.1f} {unit}"


def clock(seconds: float) -> str:
    """Returns a duration as `1:05` (minutes and seconds) or `2:03:09` (with hours)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
