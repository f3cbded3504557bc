"""Colours, sizes and type of the figures, and how one becomes pictures for a light page and for a dark one.

Figures are made through matplotlib's object interface, whose global state is left alone. Each is made and laid out once, in
the colours of a light page, and painted twice.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image

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


SURFACE, INK, MUTED, LINE = "#ffffff", "#1b2330", "#5b6675", "#dfe3e8"
"""Of a light page."""
DARK = {SURFACE: "#181d24", INK: "#e6e9ee", MUTED: "#a3adba", LINE: "#333c47"}
"""What each becomes on a dark one. Other colours, and the pixels of images, stay as they are."""


def blank(
    height_inches: float,
    layout: Literal["constrained"] | None = "constrained",
    width_inches: float = WIDTH_INCHES,
) -> Figure:
    """An empty figure, by default of the page's width."""
    return Figure((width_inches, height_inches), dpi=DPI, facecolor=SURFACE, layout=layout)


def dress(axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
    """Axes with a light grid and no box, in a light page's colours."""
    axes.set_facecolor(SURFACE)
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=MUTED, labelsize=SMALL_SIZE, length=0)
    axes.set_xlabel(xlabel, color=INK, fontsize=FONT_SIZE)
    axes.set_ylabel(ylabel, color=INK, fontsize=FONT_SIZE)


def paint(figure: Figure) -> tuple[Image.Image, Image.Image]:
    """The figure for a light page and for a dark one, of exactly its own size."""
    canvas = _Canvas(figure)
    canvas.draw()
    painted = (canvas.both, canvas.both.night)
    light, dark = (Image.fromarray(np.asarray(one.buffer_rgba())).convert("RGB") for one in painted)
    return light, dark


def png(figure: Figure) -> bytes:
    """The figure for a light page, as a PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # `savefig` would lay the figure out, and draw it, a second time
    return buffer.getvalue()


# Of each way to paint, where its arguments after the graphics context have colours.
STROKES: Mapping[str, tuple[int, ...]] = {
    "draw_path": (2,),
    "draw_markers": (4,),
    "draw_path_collection": (5, 6),
    "draw_quad_mesh": (),
    "draw_image": (),
    "draw_text": (),
}


class _DayAndNight(RendererAgg):
    """Paints for a light page, and each stroke once more in `DARK`'s colours: what lies before the strokes, such as layout,
    is most of the work, and is done once.
    """

    def __init__(self, width: float, height: float, dpi: float) -> None:
        super().__init__(width, height, dpi)
        self.night = RendererAgg(width, height, dpi)
        for name, places in STROKES.items():
            setattr(self, name, partial(self._both, getattr(self, name), getattr(self.night, name), places))

    def _both(self, day: Any, night: Any, places: tuple[int, ...], gc: Any, *given: Any, **named: Any) -> None:
        day(gc, *given, **named)
        dark = GraphicsContextBase()
        dark.copy_properties(gc)
        dark.set_foreground(_at_night(gc.get_rgb()), isRGBA=True)
        night(dark, *(_at_night(one) if place in places else one for place, one in enumerate(given)), **named)


class _Canvas(FigureCanvasAgg):
    def __init__(self, figure: Figure) -> None:
        super().__init__(figure)
        self.both = _DayAndNight(*self.get_width_height(physical=True), figure.dpi)

    def get_renderer(self) -> _DayAndNight:
        return self.both


def _at_night(colours: Any) -> Any:
    """What a colour, or each of [N,4], becomes on a dark page, with its own opacity."""
    if colours is None:
        return None
    if np.ndim(colours) == 2:
        return np.array([_at_night(tuple(colour)) for colour in colours]).reshape(-1, 4)
    red, green, blue, alpha = to_rgba(colours)
    dark = DARK.get(to_hex((red, green, blue)))
    return colours if dark is None else to_rgba(dark, alpha)


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
