"""What one figure of the page is, before it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.report.theme import Theme


@dataclass(frozen=True)
class Plan:
    """A figure that can be drawn, and the words with it."""

    draw: Callable[[Theme], bytes]
    """To a PNG, in a theme's colours."""
    alt: str
    caption: str
    photographic: bool = False
    """Made of images, of which the page may lose what the eye does not see."""
