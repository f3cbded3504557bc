"""What one figure of the page is, before it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plan:
    """A figure that can be drawn, and the words with it."""

    draw: Callable[[], Figure]
    """In the colours of a light page."""
    alt: str
    caption: str
    photographic: bool = False
    """Made of images, of which the page may lose what the eye does not see."""
