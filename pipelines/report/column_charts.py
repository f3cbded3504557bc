"""Charts of a table's columns: their distributions, their correlations, and how well their gaps are filled in.

Shapes: D columns, B bins or categories, L latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from pipelines.report.formats import date_of
from pipelines.report.theme import COLOURS, FONT_SIZE, SMALL_SIZE, WIDTH_INCHES, Theme, plain

Array = NDArray[np.float64]

DATA, MODEL = COLOURS[0], COLOURS[1]
PANEL_INCHES, HEAD_INCHES, ACROSS = 1.15, 0.3, 2
MOST_NAMED = 12
"""Columns of a heat map up to which its values are written into it."""


@dataclass(frozen=True, eq=False)
class Marginal:
    """Distribution of one column in the data and in draws from the model."""

    column: str
    distance: float
    """Distance between the two distributions, from 0 to 1."""
    data: Array
    """Shares of the rows in percent, [B]."""
    model: Array
    """Shares of the draws in percent, [B]."""
    edges: Array | None = None
    """Edges of the bins in the column's own unit [B+1]; None for categories."""
    names: tuple[str, ...] = ()
    """Names of the categories; empty for numbers."""
    are_times: bool = False
    """Whether the edges are seconds since 1970 UTC."""


def marginals(drawn: Sequence[Marginal], theme: Theme) -> Figure:
    """Draws a panel for each column: data filled and model as a line, or two bars for each category."""
    rows = math.ceil(len(drawn) / ACROSS)
    height = HEAD_INCHES + PANEL_INCHES * rows
    # Laid out by hand: a layout engine takes seconds for so many panels.
    figure = theme.figure(height, layout=None)
    figure.subplots_adjust(
        left=0.6 / WIDTH_INCHES, right=1 - 0.1 / WIDTH_INCHES, top=1 - (HEAD_INCHES + 0.12) / height, bottom=0.24 / height,
        wspace=0.24, hspace=0.58,
    )  # fmt: skip
    panels = figure.subplots(rows, ACROSS, squeeze=False).flatten()
    for axes, marginal in zip(panels, drawn, strict=False):
        theme.dress(axes)
        title = f"{plain(marginal.column, 18)}   Δ {marginal.distance:.2f}"
        axes.set_title(title, color=theme.ink, fontsize=SMALL_SIZE, loc="left", pad=3)
        axes.grid(visible=False, axis="x")
        if marginal.edges is not None:
            axes.stairs(marginal.data, marginal.edges, fill=True, color=DATA, alpha=0.55, linewidth=0)
            axes.stairs(marginal.model, marginal.edges, color=MODEL, linewidth=1.5)
            axes.set_xlim(marginal.edges[0], marginal.edges[-1])
            if marginal.are_times:
                ends = np.quantile(marginal.edges, [0.15, 0.85])
                axes.set_xticks(ends, [date_of(end) for end in ends])
        else:
            _paired_bars(axes, marginal)
        axes.locator_params(axis="y", nbins=3)
        axes.set_ylim(0, 1.08 * max(marginal.data.max(), marginal.model.max(), 1e-9))
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    figure.supylabel("share of rows (%)", color=theme.ink, fontsize=FONT_SIZE, x=0.02)
    handles = [Patch(color=DATA, alpha=0.55, label="data"), Line2D([], [], color=MODEL, linewidth=1.5, label="model")]
    theme.legend(figure, "upper right", handles=handles, borderaxespad=0)
    return figure


def _paired_bars(axes: Axes, marginal: Marginal) -> None:
    places = np.arange(len(marginal.names))
    axes.bar(places - 0.2, marginal.data, width=0.38, color=DATA, alpha=0.55)
    axes.bar(places + 0.2, marginal.model, width=0.38, facecolor="none", edgecolor=MODEL, linewidth=1.5)
    room = max(3, int(22 / len(places)))
    axes.set_xticks(places, [plain(name, room) for name in marginal.names])


# --- heat maps ------------------------------------------------------------------------------------------------------


def differences(difference_DD: Array, names: Sequence[str], theme: Theme) -> Figure:
    """Draws a heat map of the pairs of columns that are more (orange) or less (blue) correlated in the model.

    Args:
        difference_DD: Differences in [−2, 2], NaN for unknown ones.
        names: Names of the columns.
        theme: Colours of the figure.
    """
    below = np.where(np.tri(len(names), k=-1, dtype=bool), difference_DD, np.nan)[1:, :-1]
    return heat_map(below, names[1:], names[:-1], "correlation in the model − in the data", theme)


def heat_map(values: Array, rows: Sequence[str], columns: Sequence[str], measure: str, theme: Theme) -> Figure:
    """Draws a heat map, orange above zero and blue below, with the values written into it if there is room."""
    figure = theme.figure(WIDTH_INCHES)
    axes = figure.subplots()
    theme.dress(axes)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    # Blue and orange are apart for every kind of colour vision; in the middle the page shows through, light or dark.
    shades = [(0.0, "#3A7CC4ff"), (0.5, "#3A7CC400"), (0.5, "#E07B2400"), (1.0, "#E07B24ff")]
    scale = LinearSegmentedColormap.from_list("difference", shades, bad="#00000000")
    largest = max(0.1, float(np.nanmax(np.abs(values), initial=0.0)))
    limit = math.ceil(10 * largest) / 10
    drawn = axes.imshow(values, cmap=scale, vmin=-limit, vmax=limit, aspect="auto")
    slanted = len(columns) > 3
    axes.set_xticks(
        range(len(columns)), [plain(name, 14) for name in columns], rotation=60 if slanted else 0,
        ha="right" if slanted else "center", rotation_mode="anchor",
    )  # fmt: skip
    axes.set_yticks(range(len(rows)), [plain(name, 14) for name in rows])
    if len(columns) <= MOST_NAMED:
        size = 6.5 if len(columns) > 7 else SMALL_SIZE
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                axes.text(column, row, signed(value), color=theme.ink, fontsize=size, ha="center", va="center")
    bar = figure.colorbar(drawn, ax=axes, location="bottom", pad=0.02, aspect=32, shrink=0.9)
    bar.set_label(measure, color=theme.ink, fontsize=FONT_SIZE)
    theme.bar(bar)
    return figure


def signed(value: float) -> str:
    """Returns a number with two decimals, in few characters: `+.05`, `−1.20`, `0`."""
    if abs(value) < 0.005:
        return "0"
    digits = f"{abs(value):.2f}"
    return ("+" if value > 0 else "−") + (digits[1:] if digits.startswith("0.") else digits)


# --- gaps -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """Error of a column's entries that were hidden and filled in again."""

    column: str
    is_category: bool
    error: float
    """Error of the model: RMSE in standard deviations for numbers, share of wrong entries for categories."""
    simple: float
    """Error of the column's mean, or of its commonest category."""


def imputation(gaps: Sequence[Gap], theme: Theme) -> Figure:
    """Draws a line for each column from the simple error to the model's; numbers above categories."""
    groups = [group for kind in (False, True) if (group := [gap for gap in gaps if gap.is_category is kind])]
    figure = theme.figure(0.75 + sum(0.75 + 0.23 * len(group) for group in groups))
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[len(group) + 1 for group in groups])
    simple: dict[str, Any] = {
        "linestyle": "",
        "marker": "D",
        "markerfacecolor": theme.surface,
        "markeredgecolor": theme.muted,
    }
    model: dict[str, Any] = {"linestyle": "", "marker": "o", "color": MODEL}
    for axes, group in zip(panels.flatten(), groups, strict=True):
        ordered = sorted(group, key=lambda gap: gap.error, reverse=True)
        of_categories = ordered[0].is_category
        theme.dress(axes, "share of categories wrong (%)" if of_categories else "RMSE (standard deviations)")
        axes.grid(visible=False, axis="y")
        heights, factor = range(len(ordered)), 100 if of_categories else 1
        errors, baselines = ([factor * getattr(gap, name) for gap in ordered] for name in ("error", "simple"))
        axes.hlines(heights, baselines, errors, color=theme.line, linewidth=3, zorder=1)
        axes.plot(baselines, heights, markersize=5.5, markeredgewidth=1.5, zorder=2, **simple)
        axes.plot(errors, heights, markersize=6.5, zorder=3, **model)
        axes.set_yticks(heights, [plain(gap.column, 18) for gap in ordered])
        axes.tick_params(axis="y", labelcolor=theme.ink)
        axes.set_ylim(-0.7, len(ordered) - 0.3)
        axes.set_xlim(0, 1.06 * max(errors + baselines) or 1)
    handles = [Line2D([], [], label="model", **model), Line2D([], [], label="mean or commonest category", **simple)]
    theme.legend(figure, handles=handles)
    return figure
