"""What a search found, drawn: the rate–distortion plane, every trial's settings, and what the bound depends on.

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

from pipelines.report.theme import (
    CHART_INCHES,
    COLOUR_MAP,
    COLOUR_RANGE,
    COLOURS,
    FONT_SIZE,
    INK,
    MARKERS,
    MUTED,
    SMALL_SIZE,
    SURFACE,
    WIDTH_INCHES,
    blank,
    dress,
    plain,
)
from pipelines.report.wording import (
    architecture_of,
    beta_of,
    bits_per_dimension,
    column_name,
    nats,
    parameter_names,
    value,
)
from tuning.frontier import Trial, pareto, score_of

MOST_BETAS = 10
# Of an axis of settings: as many values are all named, labels are broken into lines, and those that would touch left out.
MOST_VALUES, LABEL_CHARACTERS, LABEL_LINES, LABEL_GAP = 10, 18, 3, 0.055
AXIS_INCHES = 1.4
BOUND = "bound (nats)\nlower is better"


# --- rate and distortion over β -------------------------------------------------------------------------------------


def frontier(trials: Sequence[Trial], chosen: Trial | None, num_dimensions: int | None) -> Figure:
    """Scored trials by rate and distortion: colour is β, shape the architecture, hollow not trained to the end.

    Args:
        trials: Those with a rate and a distortion.
        chosen: The trial to mark.
        num_dimensions: Of an example, for the axes in bits per dimension; None draws none.
    """
    figure = blank(CHART_INCHES)
    axes = figure.subplots()
    dress(axes, "rate (nats per example)", "distortion (nats per example)")
    front = pareto(trials)
    axes.plot(*_plane(front), color=MUTED, linewidth=1.2, zorder=1)
    betas = sorted({beta for t in trials if (beta := beta_of(t)) is not None})
    colours = _colours(betas)
    shapes = sorted({architecture_of(t) for t in trials})
    for trial in trials:
        colour = colours.get(beta_of(trial), COLOURS[0])
        axes.plot(
            *_plane([trial]), linestyle="", zorder=2, markersize=7,
            marker=MARKERS[shapes.index(architecture_of(trial)) % len(MARKERS)], markeredgewidth=1.6,
            markerfacecolor=SURFACE if trial.status != "finished" else colour, markeredgecolor=colour,
        )  # fmt: skip
    _mark_chosen(axes, chosen)
    for index, shape in enumerate(shapes if len(shapes) > 1 else []):
        marker = MARKERS[index % len(MARKERS)]
        axes.plot([], [], marker=marker, linestyle="", color=MUTED, label=plain(shape, 28))
    axes.plot([], [], color=MUTED, linewidth=1.2, label="Pareto front")
    # Below the axes, where it covers no trial.
    figure.legend(loc="outside lower center", ncols=2, fontsize=SMALL_SIZE, labelcolor=INK, frameon=False)
    if len(betas) > 1:
        _beta_bar(figure, axes, betas, colours)
    if num_dimensions is not None:
        _bits_axes(axes, num_dimensions)
    return figure


def _bits_axes(axes: Axes, num_dimensions: int) -> None:
    """The plane's axes once more, above and to the right, in bits per dimension."""
    bit = bits_per_dimension(1.0, num_dimensions)
    functions = (lambda nats: nats * bit, lambda bits: bits / bit)
    above, right = axes.secondary_xaxis("top", functions=functions), axes.secondary_yaxis("right", functions=functions)
    above.set_xlabel("rate (bits per dimension)", color=INK, fontsize=FONT_SIZE)
    right.set_ylabel("distortion (bits per dimension)", color=INK, fontsize=FONT_SIZE)
    for extra in (above, right):
        extra.tick_params(colors=MUTED, labelsize=SMALL_SIZE, length=0)
        extra.spines[:].set_visible(False)


def _plane(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Rates and distortions [2,N]."""
    return np.array([(t.rate, t.distortion) for t in trials], np.float64).T


def _colours(betas: Sequence[float]) -> dict[float | None, Any]:
    shades = matplotlib.colormaps[COLOUR_MAP](np.linspace(*COLOUR_RANGE, max(2, len(betas))))
    return dict(zip(betas, shades, strict=False))


def _mark_chosen(axes: Axes, chosen: Trial | None) -> None:
    if chosen is None or chosen.rate is None or chosen.distortion is None:
        return
    axes.plot(
        [chosen.rate], [chosen.distortion], marker="o", markersize=15, markerfacecolor="none", linestyle="",
        markeredgecolor=INK, markeredgewidth=1.6, label="chosen", zorder=3,
    )  # fmt: skip
    # Trials on this line have the same bound; none may lie below it.
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    total = chosen.rate + chosen.distortion
    axes.plot([low, high], [total - low, total - high], color=INK, linewidth=0.9, linestyle=":", zorder=1,
              label=f"rate + distortion = {nats(total)}")  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)


def _beta_bar(figure: Figure, axes: Axes, betas: Sequence[float], colours: Mapping[float | None, Any]) -> None:
    shades = ListedColormap([colours[beta] for beta in betas])
    scale = ScalarMappable(BoundaryNorm(np.arange(len(betas) + 1) - 0.5, len(betas)), shades)
    step = math.ceil(len(betas) / MOST_BETAS)
    shown = range(0, len(betas), step)
    bar = figure.colorbar(scale, ax=axes, ticks=list(shown), pad=0.06, aspect=28)
    bar.ax.set_yticklabels([f"{betas[i]:.3g}" for i in shown])
    bar.ax.tick_params(colors=MUTED, labelsize=SMALL_SIZE, length=0)
    bar.ax.set_title("β", color=INK, fontsize=FONT_SIZE)
    bar.minorticks_off()
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


# --- settings and bounds --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scale:
    """An upright axis: where values lie on it, from 0 at its foot to 1 at its head, and which of them are named."""

    positions: NDArray[np.float64]
    """Of each trial [N]; NaN where it has no value."""
    ticks: list[tuple[float, str]]


def parallel(trials: Sequence[Trial], chosen: Trial) -> Figure:
    """Every trial as a line over what the search varied, which ends at its bound, by which it is coloured.

    Args:
        trials: As the search returned them; a line without a bound is dashed and ends at the last setting.
        chosen: The trial to mark.
    """
    names = parameter_names(trials)
    bounds = [
        bound if (bound := score_of(trial, "bound")) is not None and math.isfinite(bound) else None for trial in trials
    ]
    scales = [_scale([trial.parameters.get(name) for trial in trials]) for name in names] + [_scale(bounds)]
    lines_NA = np.stack([scale.positions for scale in scales], axis=1)
    figure = blank(CHART_INCHES, width_inches=max(WIDTH_INCHES, AXIS_INCHES * (len(scales) + 0.5)))
    axes = figure.subplots()
    axes.set_axis_off()
    shades = ListedColormap(matplotlib.colormaps[COLOUR_MAP](np.linspace(*COLOUR_RANGE, 256)))
    # The best come last, and lie on top.
    for line in sorted(lines_NA, key=lambda line: -np.nan_to_num(line[-1], nan=np.inf)):
        if np.isnan(line[-1]):
            axes.plot(line, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        else:
            axes.plot(line, color=shades(line[-1]), linewidth=1.1, alpha=0.85)
    axes.plot(
        lines_NA[trials.index(chosen)], color=INK, linewidth=2.2, marker="o", markersize=5, zorder=3,
        path_effects=[withStroke(linewidth=4.5, foreground=SURFACE)], label=f"chosen, {nats(chosen.negative_bound)}",
    )  # fmt: skip
    if np.isnan(lines_NA[:, -1]).any():
        axes.plot([], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label="no bound")
    for place, (scale, title) in enumerate(zip(scales, [*map(column_name, names), BOUND], strict=True)):
        _upright(axes, place, scale, title)
    bar = (len(names) - 0.02, len(names) + 0.02, 0, 1)
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap=shades, extent=bar, aspect="auto", zorder=2)
    axes.set(xlim=(-0.05, len(names) + 0.05), ylim=(-0.03, 1.03))
    figure.legend(loc="outside lower center", ncols=2, fontsize=SMALL_SIZE, labelcolor=INK, frameon=False)
    return figure


def _scale(values: Sequence[object]) -> _Scale:
    """Numbers by size, by their logarithm where they span more than a factor of 10; labels at even distances, by name."""
    known = [found for found in values if found is not None]
    if known and all(isinstance(found, int | float) and not isinstance(found, bool) for found in known):
        return _scale_of_numbers(np.array([np.nan if found is None else found for found in values], np.float64))
    labels = sorted(set(map(str, known)))
    positions = {label: (index + 0.5) / len(labels) for index, label in enumerate(labels)}
    ticks = [(place, _broken(label)) for label, place in positions.items()]
    return _Scale(np.array([positions.get(str(found), np.nan) for found in values]), _apart(ticks))


def _scale_of_numbers(values_N: NDArray[np.float64]) -> _Scale:
    low, high = np.nanmin(values_N), np.nanmax(values_N)
    logarithmic = low > 0 and high > 10 * low
    scaled = np.log10 if logarithmic else np.asarray
    start, span = scaled(low), scaled(high) - scaled(low)

    def place(found: NDArray[np.float64]) -> NDArray[np.float64]:
        return (scaled(found) - start) / span if span else scaled(found) - start + 0.5

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
    """A label on a few lines."""
    return "\n".join(
        textwrap.wrap(
            plain(label, LABEL_CHARACTERS * LABEL_LINES), LABEL_CHARACTERS, max_lines=LABEL_LINES, placeholder="…"
        )
    )


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The ticks from below, without those whose label would touch the one before."""
    kept: list[tuple[float, str]] = []
    for place, label in ticks:
        lines = label.count("\n") + 1
        if not kept or place - kept[-1][0] >= LABEL_GAP * (lines + kept[-1][1].count("\n") + 1) / 2:
            kept.append((place, label))
    return kept


def _upright(axes: Axes, place: int, scale: _Scale, title: str) -> None:
    """Draws one axis, with its values beside it: of the first one to the left, where there are no lines."""
    axes.plot([place, place], [0, 1], color=MUTED, linewidth=1, zorder=2)
    backing = {"facecolor": SURFACE, "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
    shift, side = (-0.06, "right") if place == 0 else (0.06, "left")
    for height, label in scale.ticks:
        axes.plot([place], [height], marker="_", markersize=5, color=MUTED, zorder=2)
        axes.text(
            place + shift, height, label, color=INK, fontsize=SMALL_SIZE, ha=side, va="center", zorder=4,
            bbox=backing,
        )  # fmt: skip
    axes.text(
        place,
        1.07,
        title if title == BOUND else plain(title, 15),
        color=INK,
        fontsize=FONT_SIZE,
        fontweight="bold",
        ha="center",
        va="bottom",
    )


# --- what the bound depends on --------------------------------------------------------------------------------------


def importance(shares: Mapping[str, float]) -> Figure:
    """Bars of the share of the bound's variance that each searched dimension explains, and what is left to combinations.

    Args:
        shares: Dotted field to share, as `tuning.importance.importances` has them.
    """
    bars = {plain(column_name(field)): share for field, share in shares.items()}
    rest = max(0.0, 1 - sum(shares.values()))
    figure = blank(0.9 + 0.34 * (len(bars) + 1))
    axes = figure.subplots()
    dress(axes, "share of the bound's variance (%)")
    axes.grid(visible=False, axis="y")
    heights = [*(100 * share for share in bars.values()), 100 * rest]
    colours = [*[COLOURS[0]] * len(bars), MUTED]
    drawn = axes.barh([*bars, "in combination"], heights, height=0.62, color=colours)
    axes.bar_label(drawn, fmt="%.0f", padding=3, color=INK, fontsize=SMALL_SIZE)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    return figure
