"""Figures on a light page and on a dark one, and the pixels of a grid of images."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from PIL import ImageColor

from pipelines.report.charts import curves, dimensions
from pipelines.report.column_charts import Gap, Marginal, differences, heat_map, imputation, marginals
from pipelines.report.pictures import Grid
from pipelines.report.search_charts import frontier, importance, parallel
from pipelines.report.theme import DARK, DPI, LIGHT, Draw, paint
from tests.pipelines.report.conftest import epochs, search
from vae.metrics.likelihood import Bound

TRIALS = search()
ALL = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]])
NAMES = ["a", "b", "c"]
FIGURES: dict[str, Draw] = {
    "curves": lambda theme: curves(epochs(3), epochs(3)[-1], theme),
    "dimensions": lambda theme: dimensions(Bound(9, 1.0, 2.0, 3.0, (1.0, 2.0), (1.0, 1.0), (1.0, 1.0)), theme),
    "marginals": lambda theme: marginals([Marginal("a", 0.1, np.ones(2), np.ones(2), names=("x", "y"))], theme),
    # Blue and orange fade into the page: nothing stays white where nothing differs.
    "differences": lambda theme: differences(ALL + ALL.T, NAMES, theme),
    "heat map": lambda theme: heat_map(ALL, NAMES, NAMES, "change", theme),
    "imputation": lambda theme: imputation([Gap("a", False, 1.0, 2.0), Gap("b", True, 0.1, 0.2)], theme),
    "frontier": lambda theme: frontier(TRIALS[:6], TRIALS[0], 64, theme),
    "parallel": lambda theme: parallel(TRIALS, TRIALS[0], theme),
    "importance": lambda theme: importance({"objective.beta": 0.6}, theme),
    "grid": lambda theme: Grid(np.full((1, 2, 1, 2, 2), 0.5, np.float32), ["a"], [["b", "c"]]).draw(theme),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_in_the_colours_of_its_page(name: str) -> None:
    """Each has its own surface, and neither the other theme's colours nor matplotlib's black and white."""
    # Blends at the edges of letters may come out as any colour, a few pixels each.
    light, dark = (
        {colour for count, colour in image.getcolors(1 << 24) or [] if count > 30} for image in paint(FIGURES[name])
    )
    of_light, of_dark = ({ImageColor.getrgb(colour) for colour in astuple(theme)} for theme in (LIGHT, DARK))
    assert ImageColor.getrgb(LIGHT.surface) in light
    assert ImageColor.getrgb(DARK.surface) in dark
    assert not light & {*of_dark, (0, 0, 0)}
    assert not dark & {*of_light, (255, 255, 255)}
    assert min(len(light), len(dark)) > 5


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_has_its_images_where_they_belong(channels: int) -> None:
    """The first row is on top, the first pixel of an image at its upper left, in its own shade on either page."""
    images = np.zeros((2, 4, channels, 2, 2), np.float32)
    images[0, 0, :, 0, 0] = 1.0
    images[1, 3, :, 1, 1] = 0.5
    for painted in paint(Grid(images).draw):
        pixels = np.asarray(painted, np.int64)
        edge = round(0.1 * DPI)
        cell = (pixels.shape[1] - 2 * edge) // 4
        bright = pixels[edge // 2 + cell // 4, edge + cell // 4]
        grey = pixels[edge // 2 + cell + 3 * cell // 4, edge + 3 * cell + 3 * cell // 4]
        assert bright.tolist() == [255] * 3
        assert grey.tolist() == [128] * 3
        assert pixels[edge // 2 + 3 * cell // 4, edge + cell // 4].tolist() == [0] * 3
