"""Exports of an answer or a map as PNG and CSV."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipelines.explorer.looking import Shown
from pipelines.explorer.mapping import Map


def csv_of(shown: Shown | Map) -> str:
    """Returns a line for each panel with every pixel or column, or for each row of a map with its class and latent."""
    if isinstance(shown, Map):
        codes = shown.codes
        frame = pd.DataFrame(codes.mean, list(codes.rows)).add_prefix("z")
        if codes.classes is not None:
            frame.insert(0, "class", codes.classes)
        return frame.to_csv(index_label="row")
    return shown.kind.csv(shown.flat)


def png_of(shown: Shown | Map) -> bytes:
    """Returns the panels or the map as a picture, light whatever the page is."""
    return _png_of_map(shown) if isinstance(shown, Map) else shown.kind.png(shown.panels)


def _png_of_map(chart: Map) -> bytes:
    # Imported here because matplotlib takes a second, which the start of the page need not wait for.
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
