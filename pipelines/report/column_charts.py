"""A table's columns, drawn: their distributions, how they hang together, and how well gaps in them are filled.

Shapes: D columns, B bins or categories.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from pipelines.report.theme import (
    COLOURS,
    FONT_SIZE,
    INK,
    LINE,
    MUTED,
    SMALL_SIZE,
    SURFACE,
    WIDTH_INCHES,
    blank,
    dress,
    plain,
)

Array = NDArray[np.float64]

DATA, MODEL = COLOURS[0], COLOURS[1]
PANEL_INCHES, HEAD_INCHES, ACROSS = 1.15, 0.3, 2
MOST_NAMED = 12
"""Columns of a heat map whose values are written into it."""


@dataclass(frozen=True, eq=False)
class Marginal:
    """One column's distribution. Shares of rows in percent, [B]."""

    column: str
    distance: float
    """Between the two, from 0 to 1."""
    data: Array
    model: Array
    edges: Array | None = None
    """Of the bins of numbers in the column's own unit, [B+1]; None for categories."""
    names: tuple[str, ...] = ()
    """Of categories."""


def marginals(drawn: Sequence[Marginal]) -> Figure:
    """A panel for each column: the data filled, the model as a line; of categories two bars each."""
    rows = math.ceil(len(drawn) / ACROSS)
    height = HEAD_INCHES + PANEL_INCHES * rows
    # Laid out by hand: a layout engine takes seconds for so many panels.
    figure = blank(height, layout=None)
    figure.subplots_adjust(
        left=0.6 / WIDTH_INCHES, right=1 - 0.1 / WIDTH_INCHES, top=1 - (HEAD_INCHES + 0.12) / height, bottom=0.24 / height,
        wspace=0.24, hspace=0.58,
    )  # fmt: skip
    panels = figure.subplots(rows, ACROSS, squeeze=False).flatten()
    for axes, marginal in zip(panels, drawn, strict=False):
        dress(axes)
        axes.set_title(
            f"{plain(marginal.column, 18)}   Δ {marginal.distance:.2f}", color=INK, fontsize=SMALL_SIZE, loc="left",
            pad=3,
        )  # fmt: skip
        axes.grid(visible=False, axis="x")
        if marginal.edges is not None:
            axes.stairs(marginal.data, marginal.edges, fill=True, color=DATA, alpha=0.55, linewidth=0)
            axes.stairs(marginal.model, marginal.edges, color=MODEL, linewidth=1.5)
            axes.set_xlim(marginal.edges[0], marginal.edges[-1])
        else:
            _paired_bars(axes, marginal)
        axes.locator_params(axis="y", nbins=3)
        axes.set_ylim(0, 1.08 * max(marginal.data.max(), marginal.model.max(), 1e-9))
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    figure.supylabel("share of rows (%)", color=INK, fontsize=FONT_SIZE, x=0.02)
    handles = [Patch(color=DATA, alpha=0.55, label="data"), Line2D([], [], color=MODEL, linewidth=1.5, label="model")]
    figure.legend(
        handles=handles,
        loc="upper right",
        borderaxespad=0,
        ncols=2,
        fontsize=SMALL_SIZE,
        frameon=False,
        labelcolor=INK,
    )
    return figure


def _paired_bars(axes: Axes, marginal: Marginal) -> None:
    places = np.arange(len(marginal.names))
    axes.bar(places - 0.2, marginal.data, width=0.38, color=DATA, alpha=0.55)
    axes.bar(places + 0.2, marginal.model, width=0.38, facecolor="none", edgecolor=MODEL, linewidth=1.5)
    room = max(3, int(22 / len(places)))
    axes.set_xticks(places, [plain(name, room) for name in marginal.names])


# --- pairs ----------------------------------------------------------------------------------------------------------


def differences(difference_DD: Array, names: Sequence[str]) -> Figure:
    """A heat map of what each pair of columns has more (orange) or less (blue) to do with each other in the model.

    Args:
        difference_DD: In [−2, 2], NaN where it is not known.
        names: Of the columns.
    """
    shown = np.where(np.tri(len(names), k=-1, dtype=bool), difference_DD, np.nan)[1:, :-1]
    return _heat_map(shown, names[1:], names[:-1], "correlation in the model − in the data")


def effects(effect_LD: Array, dimensions: Sequence[str], columns: Sequence[str]) -> Figure:
    """A heat map of what each latent dimension does to each column.

    Args:
        effect_LD: The change of each column, in standard deviations.
        dimensions: Names of the rows.
        columns: Names of the columns.
    """
    return _heat_map(effect_LD, dimensions, columns, "change of the column (standard deviations)")


def _heat_map(values: Array, rows: Sequence[str], columns: Sequence[str], measure: str) -> Figure:
    """Orange above zero and blue below; written into the cells where there are few."""
    figure = blank(WIDTH_INCHES)
    axes = figure.subplots()
    dress(axes)
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
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                axes.text(column, row, _signed(value), color=INK, fontsize=6.5 if len(columns) > 7 else SMALL_SIZE,
                          ha="center", va="center")  # fmt: skip
    bar = figure.colorbar(drawn, ax=axes, location="bottom", pad=0.02, aspect=32, shrink=0.9)
    bar.set_label(measure, color=INK, fontsize=FONT_SIZE)
    bar.ax.tick_params(colors=MUTED, labelsize=SMALL_SIZE, length=0)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def _signed(value: float) -> str:
    """Two decimals, in few characters: `+.05`, `−1.20`, `0`."""
    if abs(value) < 0.005:
        return "0"
    sign, shown = "+" if value > 0 else "−", f"{abs(value):.2f}"
    return sign + (shown[1:] if shown.startswith("0.") else shown)


# --- gaps -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """How well hidden entries of a column were filled in."""

    column: str
    is_category: bool
    error: float
    """By the model: of numbers the RMSE in standard deviations, of categories the share that is wrong."""
    simple: float
    """By the column's mean, or its commonest category."""


def imputation(gaps: Sequence[Gap]) -> Figure:
    """A line for each column from the simple answer's error to the model's; numbers above categories."""
    groups = [group for kind in (False, True) if (group := [gap for gap in gaps if gap.is_category is kind])]
    figure = blank(0.75 + sum(0.75 + 0.23 * len(group) for group in groups))
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[len(group) + 1 for group in groups])
    for axes, group in zip(panels.flatten(), groups, strict=True):
        ordered = sorted(group, key=lambda gap: gap.error, reverse=True)
        unit = "share of categories wrong (%)" if ordered[0].is_category else "RMSE (standard deviations)"
        factor = 100 if ordered[0].is_category else 1
        dress(axes, unit)
        axes.grid(visible=False, axis="y")
        for height, gap in enumerate(ordered):
            axes.plot([factor * gap.simple, factor * gap.error], [height, height], color=LINE, linewidth=3, zorder=1)
            axes.plot(factor * gap.simple, height, marker="D", markersize=5.5, markerfacecolor=SURFACE,
                      markeredgecolor=MUTED, markeredgewidth=1.5, zorder=2)  # fmt: skip
            axes.plot(factor * gap.error, height, marker="o", markersize=6.5, color=MODEL, zorder=3)
        axes.set_yticks(range(len(ordered)), [plain(gap.column, 18) for gap in ordered])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(-0.7, len(ordered) - 0.3)
        axes.set_xlim(0, 1.06 * factor * max(max(gap.error, gap.simple) for gap in group) or 1)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=MODEL, label="model"),
        Line2D([], [], marker="D", linestyle="", color=MUTED, markerfacecolor=SURFACE,
               label="mean or commonest category"),
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2, fontsize=SMALL_SIZE, frameon=False, labelcolor=INK
    )
    return figure
