"""Colours, sizes and type of every figure, and its painting for a light page and for a dark one.

Figures are made through matplotlib's object interface, whose global state stays as it is.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image

from pipelines.report.formats import shorten

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
    """Colours of a figure's surface and words, and the parts that every figure has."""

    surface: str
    ink: str
    muted: str
    line: str

    def figure(
        self,
        height_inches: float,
        layout: Literal["constrained"] | None = "constrained",
        width_inches: float = WIDTH_INCHES,
    ) -> Figure:
        """Returns an empty figure, by default of the page's width."""
        return Figure((width_inches, height_inches), dpi=DPI, facecolor=self.surface, layout=layout)

    def dress(self, axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
        """Gives axes a light grid, no box, and labels."""
        axes.set_facecolor(self.surface)
        axes.grid(color=self.line, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(self.line)
        self.ticks(axes)
        axes.set_xlabel(xlabel, color=self.ink, fontsize=FONT_SIZE)
        axes.set_ylabel(ylabel, color=self.ink, fontsize=FONT_SIZE)

    def ticks(self, axes: Any) -> None:
        """Makes the labels of ticks small and muted, and leaves out their marks."""
        axes.tick_params(colors=self.muted, labelsize=SMALL_SIZE, length=0)

    def bar(self, bar: Colorbar) -> None:
        """Takes the box and the tick marks off a colour bar, and lets the surface show through it."""
        bar.ax.set_facecolor(self.surface)
        self.ticks(bar.ax)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]

    def legend(self, figure: Figure, loc: Any = "outside lower center", ncols: int = 2, **named: Any) -> None:
        """Adds a legend, by default below the axes, where it covers nothing."""
        figure.legend(loc=loc, ncols=ncols, fontsize=SMALL_SIZE, frameon=False, labelcolor=self.ink, **named)


LIGHT = Theme(surface="#ffffff", ink="#1b2330", muted="#5b6675", line="#dfe3e8")
DARK = Theme(surface="#181d24", ink="#e6e9ee", muted="#a3adba", line="#333c47")
Draw = Callable[[Theme], Figure]


@dataclass(frozen=True)
class Plan:
    """A figure that can be drawn in either theme, and the words that belong to it."""

    draw: Draw
    alt: str
    caption: str
    photographic: bool = False
    """Whether the figure consists of images, which the page may compress with loss; False by default."""


def paint(draw: Draw) -> tuple[Image.Image, Image.Image]:
    """Draws a figure for a light page and once more for a dark one, each in exactly its own size."""
    return _painted(draw(LIGHT)), _painted(draw(DARK))


def _painted(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def png(figure: Figure) -> bytes:
    """Returns a figure as a PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # `savefig` would lay the figure out, and draw it, a second time
    return buffer.getvalue()


def plain(text: object, most: int = 24) -> str:
    """Returns text from data as a figure can draw it.

    It is shortened and on one line; nothing in it is read as mathematics, and no glyph is missing from the font.
    """
    drawable = "".join(
        character if ord(character) in _glyphs() else "\N{REPLACEMENT CHARACTER}"
        for character in " ".join(str(text).split())
        if unicodedata.category(character) not in ("Cc", "Cf", "Mn")
    )
    return shorten(drawable, most).replace("$", r"\$")


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())
