"""Charts of a search: the rate–distortion plane, the settings of every trial, and what the bound depends on.

Shapes: N trials, A axes.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from pipelines.report.formats import bits_per_dimension, nats, value
from pipelines.report.theme import (
    CHART_INCHES,
    COLOUR_MAP,
    COLOUR_RANGE,
    COLOURS,
    FONT_SIZE,
    MARKERS,
    SMALL_SIZE,
    WIDTH_INCHES,
    Theme,
    plain,
)
from pipelines.report.trials import architecture_of, beta_of, column_name
from tuning.frontier import Trial, pareto, score_of
from tuning.table import SearchTable

MOST_BETAS = 10
# An axis of settings names every value of up to this many; labels have so many lines of so many characters and a gap.
MOST_VALUES, LABEL_CHARACTERS, LABEL_LINES, LABEL_GAP = 10, 18, 3, 0.055
AXIS_INCHES = 1.4
BOUND = "bound (nats)\nlower is better"


def _shades(count: int) -> NDArray[np.float64]:
    return matplotlib.colormaps[COLOUR_MAP](np.linspace(*COLOUR_RANGE, max(2, count)))


# --- rate and distortion over β -------------------------------------------------------------------------------------


def frontier(trials: Sequence[Trial], chosen: Trial | None, num_dimensions: int | None, theme: Theme) -> Figure:
    """Draws scored trials by rate and distortion; hollow ones were not trained to the end.

    Args:
        trials: Trials with a rate and a distortion. Their colour is β, their shape the architecture.
        chosen: Trial to mark; None marks none.
        num_dimensions: Values of an example, for axes in bits per dimension; None draws no such axes.
        theme: Colours of the figure.
    """
    figure = theme.figure(CHART_INCHES)
    axes = figure.subplots()
    theme.dress(axes, "rate (nats per example)", "distortion (nats per example)")
    axes.plot(*_plane(pareto(trials)), color=theme.muted, linewidth=1.2, zorder=1)
    betas = sorted({beta for t in trials if (beta := beta_of(t)) is not None})
    colours: dict[float | None, Any] = dict(zip(betas, _shades(len(betas)), strict=False))
    shapes = sorted({architecture_of(t) for t in trials})
    for trial in trials:
        colour = colours.get(beta_of(trial), COLOURS[0])
        axes.plot(
            *_plane([trial]), linestyle="", zorder=2, markersize=7,
            marker=MARKERS[shapes.index(architecture_of(trial)) % len(MARKERS)], markeredgewidth=1.6,
            markerfacecolor=theme.surface if trial.status != "finished" else colour, markeredgecolor=colour,
        )  # fmt: skip
    _mark_chosen(axes, chosen, theme)
    for index, shape in enumerate(shapes if len(shapes) > 1 else []):
        marker = MARKERS[index % len(MARKERS)]
        axes.plot([], [], marker=marker, linestyle="", color=theme.muted, label=plain(shape, 28))
    axes.plot([], [], color=theme.muted, linewidth=1.2, label="Pareto front")
    theme.legend(figure)
    if len(betas) > 1:
        _beta_bar(figure, axes, betas, theme)
    if num_dimensions is not None:
        _bits_axes(axes, num_dimensions, theme)
    return figure


def _bits_axes(axes: Axes, num_dimensions: int, theme: Theme) -> None:
    """Adds axes in bits per dimension above and to the right."""
    bit = bits_per_dimension(1.0, num_dimensions)
    functions = (lambda nats: nats * bit, lambda bits: bits / bit)
    above, right = axes.secondary_xaxis("top", functions=functions), axes.secondary_yaxis("right", functions=functions)
    above.set_xlabel("rate (bits per dimension)", color=theme.ink, fontsize=FONT_SIZE)
    right.set_ylabel("distortion (bits per dimension)", color=theme.ink, fontsize=FONT_SIZE)
    for extra in (above, right):
        theme.ticks(extra)
        extra.spines[:].set_visible(False)


def _plane(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Returns rates and distortions [2,N]."""
    return np.array([(t.rate, t.distortion) for t in trials], np.float64).T


def _mark_chosen(axes: Axes, chosen: Trial | None, theme: Theme) -> None:
    """Circles the chosen trial, and draws the line of equal rate + distortion through it."""
    if chosen is None or chosen.rate is None or chosen.distortion is None:
        return
    axes.plot(
        [chosen.rate], [chosen.distortion], marker="o", markersize=15, markerfacecolor="none", linestyle="",
        markeredgecolor=theme.ink, markeredgewidth=1.6, label="chosen", zorder=3,
    )  # fmt: skip
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    total = chosen.rate + chosen.distortion
    label = f"rate + distortion = {nats(total)}"
    axes.plot(
        [low, high], [total - low, total - high], color=theme.ink, linewidth=0.9, linestyle=":", zorder=1, label=label
    )
    axes.set(xlim=(low, high), ylim=(bottom, top))


def _beta_bar(figure: Figure, axes: Axes, betas: Sequence[float], theme: Theme) -> None:
    scale = ScalarMappable(
        BoundaryNorm(np.arange(len(betas) + 1) - 0.5, len(betas)), ListedColormap(_shades(len(betas)))
    )
    ticks = range(0, len(betas), math.ceil(len(betas) / MOST_BETAS))
    bar = figure.colorbar(scale, ax=axes, ticks=list(ticks), pad=0.06, aspect=28)
    bar.ax.set_yticklabels([f"{betas[i]:.3g}" for i in ticks])
    bar.ax.set_title("β", color=theme.ink, fontsize=FONT_SIZE)
    bar.minorticks_off()
    theme.bar(bar)


# --- settings and bounds --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scale:
    """Positions of values on an upright axis, from 0 at its foot to 1 at its head."""

    positions: NDArray[np.float64]
    """Position of each trial's value [N]; NaN for a trial without one."""
    ticks: list[tuple[float, str]]
    """Position and label of each value that is named."""


def parallel(trials: Sequence[Trial], chosen: Trial, theme: Theme) -> Figure:
    """Draws each trial as a line over the settings of the search, which ends at its bound and has the bound's colour.

    Args:
        trials: Trials as the search returned them; a line without a bound is dashed and ends at the last setting.
        chosen: Trial to mark.
        theme: Colours of the figure.
    """
    names = SearchTable(trials).parameters
    bounds = [
        bound if (bound := score_of(trial, "bound")) is not None and math.isfinite(bound) else None for trial in trials
    ]
    scales = [_scale([trial.parameters.get(name) for trial in trials]) for name in names] + [_scale(bounds)]
    lines_NA = np.stack([scale.positions for scale in scales], axis=1)
    figure = theme.figure(CHART_INCHES, width_inches=max(WIDTH_INCHES, AXIS_INCHES * (len(scales) + 0.5)))
    axes = figure.subplots()
    axes.set_axis_off()
    shades = ListedColormap(_shades(256))
    unbounded = {"color": theme.muted, "linewidth": 0.9, "linestyle": (0, (2, 2))}
    # The best come last, and lie on top.
    for line in sorted(lines_NA, key=lambda line: -np.nan_to_num(line[-1], nan=np.inf)):
        style = unbounded if np.isnan(line[-1]) else {"color": shades(line[-1]), "linewidth": 1.1, "alpha": 0.85}
        axes.plot(line, **style)
    axes.plot(
        lines_NA[trials.index(chosen)], color=theme.ink, linewidth=2.2, marker="o", markersize=5, zorder=3,
        path_effects=[withStroke(linewidth=4.5, foreground=theme.surface)], label=f"chosen, {nats(chosen.negative_bound)}",
    )  # fmt: skip
    if np.isnan(lines_NA[:, -1]).any():
        axes.plot([], label="no bound", **unbounded)
    for place, (scale, title) in enumerate(zip(scales, [*map(column_name, names), BOUND], strict=True)):
        _upright(axes, place, scale, title, theme)
    bar = (len(names) - 0.02, len(names) + 0.02, 0, 1)
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap=shades, extent=bar, aspect="auto", zorder=2)
    axes.set(xlim=(-0.05, len(names) + 0.05), ylim=(-0.03, 1.03))
    theme.legend(figure)
    return figure


def _scale(values: Sequence[object]) -> _Scale:
    """Places numbers by size, or by logarithm if they span more than a factor of 10, and labels at even distances."""
    present = [one for one in values if one is not None]
    if present and all(isinstance(one, int | float) and not isinstance(one, bool) for one in present):
        return _scale_of_numbers(np.array([np.nan if one is None else one for one in values], np.float64))
    labels = sorted(set(map(str, present)))
    positions = {label: (index + 0.5) / len(labels) for index, label in enumerate(labels)}
    ticks = [(place, _broken(label)) for label, place in positions.items()]
    return _Scale(np.array([positions.get(str(one), np.nan) for one in values]), _apart(ticks))


def _scale_of_numbers(values_N: NDArray[np.float64]) -> _Scale:
    low, high = np.nanmin(values_N), np.nanmax(values_N)
    logarithmic = low > 0 and high > 10 * low
    scaled = np.log10 if logarithmic else np.asarray
    start, span = scaled(low), scaled(high) - scaled(low)

    def place(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (scaled(values) - start) / span if span else scaled(values) - start + 0.5

    named = np.unique(values_N[~np.isnan(values_N)])
    if len(named) > MOST_VALUES:
        locator = LogLocator(subs=(1.0, 2.0, 5.0)) if logarithmic else MaxNLocator(6)
        named = np.array([tick for tick in locator.tick_values(low, high) if low <= tick <= high])
    ticks = [
        (at, value(int(tick) if tick.is_integer() else tick))
        for at, tick in zip(place(named).tolist(), named.tolist(), strict=True)
    ]
    return _Scale(place(values_N), _apart(ticks))


def _broken(label: str) -> str:
    """Returns a label on a few lines."""
    label = plain(label, LABEL_CHARACTERS * LABEL_LINES)
    return "\n".join(textwrap.wrap(label, LABEL_CHARACTERS, max_lines=LABEL_LINES, placeholder="…"))


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Returns the ticks from below, without those whose label would touch the one before."""
    kept: list[tuple[float, str]] = []
    for place, label in ticks:
        lines = label.count("\n") + 1
        if not kept or place - kept[-1][0] >= LABEL_GAP * (lines + kept[-1][1].count("\n") + 1) / 2:
            kept.append((place, label))
    return kept


def _upright(axes: Axes, place: int, scale: _Scale, title: str, theme: Theme) -> None:
    """Draws one axis with its labels beside it: those of the first axis to the left, where no lines run."""
    axes.plot([place, place], [0, 1], color=theme.muted, linewidth=1, zorder=2)
    backing = {"facecolor": theme.surface, "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
    shift, side = (-0.06, "right") if place == 0 else (0.06, "left")
    for height, label in scale.ticks:
        axes.plot([place], [height], marker="_", markersize=5, color=theme.muted, zorder=2)
        axes.text(
            place + shift, height, label, color=theme.ink, fontsize=SMALL_SIZE, ha=side, va="center", zorder=4,
            bbox=backing,
        )  # fmt: skip
    title = title if title == BOUND else plain(title, 15)
    axes.text(place, 1.07, title, color=theme.ink, fontsize=FONT_SIZE, fontweight="bold", ha="center", va="bottom")


# --- what the bound depends on --------------------------------------------------------------------------------------


def importance(shares: Mapping[str, float], theme: Theme) -> Figure:
    """Draws the share of the bound's variance that each setting explains, and the share of their combinations.

    Args:
        shares: Dotted field to share, as `tuning.importances.importances` returns them.
        theme: Colours of the figure.
    """
    bars = {plain(column_name(field)): 100 * share for field, share in shares.items()}
    bars["in combination"] = max(0.0, 100 * (1 - sum(shares.values())))
    figure = theme.figure(0.9 + 0.34 * len(bars))
    axes = figure.subplots()
    theme.dress(axes, "share of the bound's variance (%)")
    axes.grid(visible=False, axis="y")
    colours = [*[COLOURS[0]] * len(shares), theme.muted]
    drawn = axes.barh([*bars], [*bars.values()], height=0.62, color=colours)
    axes.bar_label(drawn, fmt="%.0f", padding=3, color=theme.ink, fontsize=SMALL_SIZE)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    return figure
