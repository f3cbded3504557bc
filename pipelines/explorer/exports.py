"""Exports of an answer or a map as PNG and CSV.

Shapes: N rows, L latent dimensions, R rows of panels, K panels in each, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipelines.explorer.looking import Panel, Shown
from pipelines.explorer.mapping import Map

ROW_INCHES = 0.2


def csv_of(shown: Shown | Map) -> str:
    """Returns a line for each panel with every pixel or column, or for each row of a map with its class and latent."""
    if isinstance(shown, Map):
        codes = shown.codes
        frame = pd.DataFrame(codes.mean, list(codes.rows)).add_prefix("z")
        if codes.classes is not None:
            frame.insert(0, "class", codes.classes)
        return frame.to_csv(index_label="row")
    if shown.is_table:
        return beside(shown.flat).T.to_csv(index_label="panel")
    pixels = np.stack([panel.values.ravel() for panel in shown.flat])
    return pd.DataFrame(pixels, [panel.name for panel in shown.flat]).add_prefix("pixel_").to_csv(index_label="panel")


def beside(panels: Sequence[Panel]) -> pd.DataFrame:
    """Returns panels of a table as the columns of one frame, with a line for each of the table's columns."""
    rows = {number: panel.values.iloc[0].astype(object) for number, panel in enumerate(panels)}
    return pd.DataFrame(rows).set_axis([panel.name for panel in panels], axis=1)


def cell_text(value: Any) -> str:
    """Returns a table's cell for the eye; empty for a missing one."""
    if pd.isna(value):
        return ""
    return f"{value:.5g}" if isinstance(value, float | np.floating) else str(value)


def png_of(shown: Shown | Map) -> bytes:
    """Returns the panels or the map as a picture, light whatever the page is."""
    # Imported here because matplotlib takes a second, which the start of the page need not wait for.
    from pipelines.report.pictures import Grid
    from pipelines.report.theme import LIGHT, png

    if isinstance(shown, Map):
        return _png_of_map(shown)
    if shown.is_table:
        return _png_of_table(beside(shown.flat))
    columns = [[panel.name for panel in row] for row in shown.panels]
    images = np.stack([[np.nan_to_num(panel.values / panel.white, nan=0.5) for panel in row] for row in shown.panels])
    return png(Grid(images, (), columns).draw(LIGHT))


def _png_of_map(chart: Map) -> bytes:
    from pipelines.report.charts import scatter
    from pipelines.report.theme import CHART_INCHES, LIGHT, png

    figure = LIGHT.figure(CHART_INCHES)
    axes = figure.add_subplot()
    LIGHT.dress(axes, f"z{chart.across}", f"z{chart.up}")
    if chart.codes.classes is None:
        scatter(axes, chart.points, None, ())
    else:
        names, class_N = np.unique(np.asarray(chart.codes.classes, object), return_inverse=True)
        scatter(axes, chart.points, class_N, names.tolist())
        LIGHT.legend(figure, "outside right upper", ncols=1)
    return png(figure)


def _png_of_table(frame: pd.DataFrame) -> bytes:
    from matplotlib.transforms import Bbox

    from pipelines.report.theme import LIGHT, SMALL_SIZE, plain, png

    figure = LIGHT.figure(ROW_INCHES * (len(frame) + 2), layout=None)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.set_axis_off()
    rows = [[plain(name, 26), *(plain(cell_text(value), 14) for value in values)] for name, values in frame.iterrows()]
    head = ["", *(plain(name, 18) for name in frame.columns)]
    table = axes.table([head, *rows], cellLoc="right", bbox=Bbox.unit(), edges="open",
                       colWidths=[0.4, *[0.6 / len(frame.columns)] * len(frame.columns)])  # fmt: skip
    table.auto_set_font_size(False)
    for (line, column), cell in table.get_celld().items():
        cell.set_text_props(color=LIGHT.ink, fontsize=SMALL_SIZE, fontweight="normal" if line else "bold")
        if not column:
            cell.set_text_props(ha="left")
    return png(figure)
