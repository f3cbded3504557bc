"""What a figure becomes on a dark page, and the pixels of a grid of images."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from pipelines.report.column_charts import differences
from pipelines.report.pictures import Grid
from pipelines.report.theme import COLOURS, DARK, DPI, INK, LINE, MUTED, SURFACE, paint


def everything(surface: str, ink: str, muted: str, line: str) -> Figure:
    """A figure with each kind of stroke that the charts have, in these colours."""
    figure = Figure((3, 2), dpi=100, facecolor=surface, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(surface)
    axes.grid(color=line)
    axes.spines[:].set_color(line)
    axes.tick_params(colors=muted)
    axes.plot([0, 1], [0, 1], color=ink, marker="o", markerfacecolor=surface, markeredgecolor=COLOURS[1], label="a")
    axes.scatter([0, 0.5, 1], [1, 0.5, 0], c=[ink, muted, COLOURS[2]], s=[20, 60, 90], alpha=0.7, edgecolors=line)
    axes.bar([0.2, 0.4], [0.3, 0.4], color=[COLOURS[0], muted])
    backing = {"facecolor": surface, "alpha": 0.8, "edgecolor": "none"}
    axes.text(
        0.2, 0.7, "$x^2$ named", color=ink, bbox=backing, path_effects=[withStroke(linewidth=3, foreground=surface)]
    )
    figure.legend(loc="outside lower center", labelcolor=ink, frameon=False)
    return figure


def test_dark_picture_is_what_would_have_been_drawn_in_its_colours() -> None:
    """Pixel by pixel, though the figure was made in a light page's."""
    light, dark = paint(everything(SURFACE, INK, MUTED, LINE))
    drawn_dark, _ = paint(everything(*(DARK[colour] for colour in (SURFACE, INK, MUTED, LINE))))
    assert np.array_equal(np.asarray(dark), np.asarray(drawn_dark))
    assert not np.array_equal(np.asarray(light), np.asarray(dark))


def test_heat_map_is_of_the_page_where_nothing_differs() -> None:
    """Blue and orange fade into the page's own colour: on a dark page nothing stays white."""
    values = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]])
    light, dark = paint(differences(values + values.T, ["a", "b", "c"]))
    assert (255, 255, 255) in {colour for _, colour in light.getcolors(1 << 24) or []}
    assert max(min(colour) for _, colour in dark.getcolors(1 << 24) or []) < 240  # pyright: ignore


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_has_its_images_where_they_belong(channels: int) -> None:
    """The first row on top, the first pixel of an image at its upper left, in its own shade on either page."""
    images = np.zeros((2, 4, channels, 2, 2), np.float32)
    images[0, 0, :, 0, 0] = 1.0
    images[1, 3, :, 1, 1] = 0.5
    for painted in paint(Grid(images).draw()):
        pixels = np.asarray(painted, np.int64)
        edge = round(0.1 * DPI)
        cell = (pixels.shape[1] - 2 * edge) // 4
        bright = pixels[edge // 2 + cell // 4, edge + cell // 4]
        grey = pixels[edge // 2 + cell + 3 * cell // 4, edge + 3 * cell + 3 * cell // 4]
        assert bright.tolist() == [255] * 3
        assert grey.tolist() == [128] * 3
        assert pixels[edge // 2 + 3 * cell // 4, edge + cell // 4].tolist() == [0] * 3
