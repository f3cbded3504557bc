"""What a person takes away: a picture and a table of what is on the page.

Shapes: N rows, L latent, R rows of panels, K panels in one, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipelines.explorer.looking import Panel, Shown
from pipelines.explorer.mapping import Map

ROW_INCHES = 0.2


def csv_of(shown: Shown) -> str:
    """A line for each panel: its name, and every pixel or column."""
    flat = [panel for row in shown.panels for panel in row]
    if isinstance(flat[0].values, pd.DataFrame):
        return beside(flat).T.to_csv(index_label="panel")
    pixels = np.stack([panel.values.ravel() for panel in flat])
    columns = [f"pixel_{number}" for number in range(pixels.shape[1])]
    return pd.DataFrame(pixels, [panel.name for panel in flat], columns).to_csv(index_label="panel")


def csv_of_map(found: Map) -> str:
    """A line for each row: its number, its class, and its latent."""
    codes = found.codes
    columns = [f"z{number}" for number in range(codes.mean.shape[1])]
    frame = pd.DataFrame(codes.mean, list(codes.rows), columns)
    if codes.classes is not None:
        frame.insert(0, "class", codes.classes)
    return frame.to_csv(index_label="row")


def beside(row: Sequence[Panel]) -> pd.DataFrame:
    """Panels of a table as the columns of one frame, a line for each of the table's columns."""
    return pd.DataFrame({number: panel.values.iloc[0].astype(object) for number, panel in enumerate(row)}).set_axis(
        [panel.name for panel in row], axis=1
    )


def cell_text(value: object) -> str:
    """A table's cell for the eye; empty where it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.5g}" if isinstance(value, float | np.floating) else str(value)


def png_of(shown: Shown) -> bytes:
    """The panels as a picture, light whatever the page is."""
    # matplotlib takes a second to import, and nobody has waited for it yet.
    from pipelines.report.pictures import Grid
    from pipelines.report.theme import png

    if isinstance(shown.panels[0][0].values, pd.DataFrame):
        return _png_of_table([panel for row in shown.panels for panel in row])
    columns = [[panel.name for panel in row] for row in shown.panels]
    images = np.stack([[np.nan_to_num(panel.values / panel.white, nan=0.5) for panel in row] for row in shown.panels])
    return png(Grid(images, (), columns).draw())


def png_of_map(found: Map) -> bytes:
    """The map as a picture."""
    from pipelines.report.theme import CHART_INCHES, COLOURS, MARKERS, SMALL_SIZE, blank, dress, plain, png

    figure = blank(CHART_INCHES)
    axes = figure.add_subplot()
    dress(axes, f"z{found.across}", f"z{found.up}")
    classes = found.codes.classes or [""] * len(found.codes.rows)
    for number, name in enumerate(sorted(set(classes))):
        points = found.points[[one == name for one in classes]]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.scatter(*points.T, s=9, color=colour, marker=marker, linewidths=0, alpha=0.8, label=plain(name))
    if found.codes.classes is not None:
        figure.legend(loc="outside right upper", fontsize=SMALL_SIZE, frameon=False)
    return png(figure)


def _png_of_table(row: Sequence[Panel]) -> bytes:
    from pipelines.report.theme import INK, SMALL_SIZE, blank, plain, png

    frame = beside(row)
    height = ROW_INCHES * (len(frame) + 2)
    figure = blank(height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(frame) + 1, -1)
    places = [0.4 + 0.58 * (number + 1) / len(row) for number in range(len(row))]
    words = {"color": INK, "fontsize": SMALL_SIZE, "va": "center"}
    for place, name in zip(places, frame.columns, strict=True):
        axes.text(place, -0.2, plain(name, 18), ha="right", fontweight="bold", **words)
    for line, (name, values) in enumerate(frame.iterrows()):
        axes.text(0.02, line + 0.8, plain(name, 26), ha="left", **words)
        for place, value in zip(places, values, strict=True):
            axes.text(place, line + 0.8, plain(cell_text(value), 14), ha="right", **words)
    return png(figure)
