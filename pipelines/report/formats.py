"""Numbers and text as people read them, the same on the page, in the card and in the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

UNIT = "nats per example"


def minus(text: str) -> str:
    """Returns the text with true minus signs."""
    return text.replace("-", "−")


def nats(value: float | None) -> str:
    """Returns a number with two decimals, or a dash for None."""
    return "–" if value is None else minus(f"{value:.2f}")


def bits_per_dimension(nats: float, num_dimensions: int) -> float:
    """Returns nats per example as bits for each of the example's dimensions: pixels times channels, or columns."""
    return nats / (num_dimensions * math.log(2))


def seconds(value: float) -> str:
    """Returns a duration such as `0.42 s`, `12.3 s`, `4 min 05 s` or `2 h 03 min`."""
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def hours(value: float) -> str:
    """Returns hours of a processor, to two figures below 10: `0`, `0.0012`, `0.35`, `12`."""
    return "0" if not value else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def size(num_bytes: int) -> str:
    """Returns a number of bytes in a unit that suits it, such as `1.2 MB`."""
    power = min(4, max(0, (len(str(num_bytes)) - 1) // 3))
    return f"{num_bytes / 1000**power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def value(parameter: object) -> str:
    """Returns a parameter's value: a number to four figures."""
    return f"{parameter:.4g}" if isinstance(parameter, float) else str(parameter)


def shorten(text: str, most: int) -> str:
    """Returns the text, cut off at a number of characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def joined(names: Sequence[str]) -> str:
    """Returns names as a list in a sentence, such as `size, colour and weight`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def date_of(seconds: float) -> str:
    """Returns the date of a time in seconds since 1970 UTC."""
    return str(np.datetime64(round(seconds), "s").astype("datetime64[D]"))
