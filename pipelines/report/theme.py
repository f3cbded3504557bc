"""Colours, sizes and type of the figures, and how one becomes a PNG.

Figures are drawn through matplotlib's object interface, one for a light page and one for a dark page; its global state
is left alone.
"""

from __future__ import annotations

import io
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

DPI = 220
# Narrow, so that words are still read where the page scales the figure down to a phone's width.
WIDTH_INCHES, CHART_INCHES = 4.2, 3.8
FONT_SIZE, SMALL_SIZE = 9.5, 8.5
# Paul Tol's "bright" scheme (https://personal.sron.nl/~pault/): apart for every kind of colour vision, and on white and
# near black alike.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
# The part of a map with even steps of lightness that stands out from white and near black alike.
COLOUR_MAP, COLOUR_RANGE = "viridis", (0.22, 0.84)


@dataclass(frozen=True)
class Theme:
    """The colours that differ between a light and a dark page."""

    surface: str
    ink: str
    muted: str
    line: str


LIGHT = Theme(surface="#ffffff", ink="#1b2330", muted="#5b6675", line="#dfe3e8")
DARK = Theme(surface="#181d24", ink="#e6e9ee", muted="#a3adba", line="#333c47")


def blank(
    theme: Theme,
    height_inches: float,
    layout: Literal["constrained"] | None = "constrained",
    width_inches: float = WIDTH_INCHES,
) -> Figure:
    """An empty figure, by default of the page's width."""
    return Figure((width_inches, height_inches), dpi=DPI, facecolor=theme.surface, layout=layout)


def dress(axes: Axes, theme: Theme, xlabel: str = "", ylabel: str = "") -> None:
    """Axes with a light grid and no box, in the theme's colours."""
    axes.set_facecolor(theme.surface)
    axes.grid(color=theme.line, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.line)
    axes.tick_params(colors=theme.muted, labelsize=SMALL_SIZE, length=0)
    axes.set_xlabel(xlabel, color=theme.ink, fontsize=FONT_SIZE)
    axes.set_ylabel(ylabel, color=theme.ink, fontsize=FONT_SIZE)


def png(figure: Figure) -> bytes:
    """The figure as a PNG of exactly its own size."""
    buffer = io.BytesIO()
    # `savefig` would lay the figure out, and draw it, a second time.
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def plain(text: object, most: int = 24) -> str:
    """Text from data as a figure can draw it: shortened, on one line, nothing read as mathematics, no missing glyph."""
    drawable = "".join(
        character if ord(character) in _glyphs() else "\N{REPLACEMENT CHARACTER}"
        for character in " ".join(str(text).split())
        if unicodedata.category(character) not in ("Cc", "Cf", "Mn")
    )
    shortened = drawable if len(drawable) <= most else drawable[: most - 1] + "…"
    return shortened.replace("$", r"\$")


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())
