"""Charts of a model and its training: the curves, the latent dimensions, and the rows in the latent space.

Shapes: N rows, L latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipelines.report.evidence import Evidence, LeftOut
from pipelines.report.formats import nats
from pipelines.report.projections import DESCRIBED, plane
from pipelines.report.theme import CHART_INCHES, COLOURS, FONT_SIZE, MARKERS, Plan, Theme, plain
from vae import inference
from vae.metrics.likelihood import Bound

Array = NDArray[np.float64]

# More classes than this cannot be distinguished by colour and shape.
MOST_CLASSES = 20
MOST_BARS = 24
# Share of the epochs that is left out of the vertical range if they are far above the rest, in a run of at least 20.
EARLY, FEWEST_EPOCHS = 0.1, 20


# --- curves ---------------------------------------------------------------------------------------------------------


def plan_curves(evidence: Evidence) -> Plan:
    """Plans distortion and rate over the epochs."""
    if not evidence.history:
        raise LeftOut("no epoch was finished" if evidence.model is None else "its epochs were not kept")
    history, best = evidence.history, evidence.best
    caption = (
        "Training values are means over the epoch, while the weights move; validation is measured at the end of the epoch. "
        "The best epoch has the lowest validation value of the loss that is trained; its weights are kept."
    )
    if any(_frame(_lines(history, part)) for part in ("distortion", "rate")):
        caption += " The first tenth of the epochs lies partly outside the frame."
    alt = f"Distortion and rate in nats per example over {len(history)} epochs, training and validation"
    alt += f"; best epoch {best['epoch']}." if best else "."
    return Plan(lambda theme: curves(history, best, theme), alt, caption)


def curves(history: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None, theme: Theme) -> Figure:
    """Draws distortion above rate over the epochs, in training and validation, with the best epoch marked."""
    figure = theme.figure(CHART_INCHES)
    epochs = [epoch["epoch"] for epoch in history]
    dots = {"marker": "o", "markersize": 4} if len(history) == 1 else {}
    train = {"color": COLOURS[0], "linewidth": 1.3, "linestyle": (0, (4, 1.5)), "label": "train", **dots}
    validation = {"color": COLOURS[1], "linewidth": 1.8, "label": "validation", **dots}
    for axes, part in zip(figure.subplots(2, 1, sharex=True), ("distortion", "rate"), strict=True):
        theme.dress(axes, "epoch" if part == "rate" else "", f"{part}\n(nats per example)")
        lines = _lines(history, part)
        for values, style in zip(lines, (train, validation), strict=True):
            axes.plot(epochs, values, **style)
        if frame := _frame(lines):
            axes.set_ylim(frame)
        if best is not None:
            axes.axvline(best["epoch"], color=theme.muted, linewidth=1, linestyle=":")
            axes.plot(
                best["epoch"], best[f"validation_{part}"], marker="o", markersize=6,
                markerfacecolor=theme.surface, markeredgecolor=COLOURS[1], markeredgewidth=1.8, linestyle="",
                label=f"best epoch, {best['epoch']}",
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    theme.legend(figure, ncols=3, handles=axes.get_legend_handles_labels()[0])
    return figure


def _lines(history: Sequence[Mapping[str, Any]], part: str) -> Array:
    """Returns the values of training and validation over the epochs [2, epochs], NaN for what is not finite."""
    values = np.array(
        [[epoch[f"{split}_{part}"] for epoch in history] for split in ("train", "validation")], np.float64
    )
    return np.where(np.isfinite(values), values, np.nan)


def _frame(lines: Array) -> tuple[float, float] | None:
    """Returns a vertical range without the early epochs, if those would squeeze the rest into less than half of it."""
    num_epochs = lines.shape[1]
    settled = lines[:, math.ceil(EARLY * num_epochs) if num_epochs >= FEWEST_EPOCHS else 0 :]
    if not np.isfinite(settled).any():
        return None
    low, high = np.nanmin(settled), np.nanmax(settled)
    span = high - low
    if not span or np.nanmax(lines) - np.nanmin(lines) < 2 * span:
        return None
    return low - 0.08 * span, high + 0.08 * span


# --- latent dimensions ----------------------------------------------------------------------------------------------


def plan_dimensions(evidence: Evidence) -> Plan:
    """Plans the information in each latent dimension."""
    bound, count = evidence.bound, evidence.config.model.latent_dim
    if bound is None:
        raise LeftOut(f"nothing was measured on the {evidence.split} split")
    if bound.kl_per_dimension:
        measure = "KL to the prior of each of"
        caption = f"Means over the {evidence.split} split; they add up to the rate, {nats(bound.rate)} nats."
    else:
        measure = f"Variance of the posterior mean over the {evidence.split} split, for each of"
        caption = f"{measure} the latent dimensions: this model's KL has no closed form for each of them."
    return Plan(
        lambda theme: dimensions(bound, theme),
        f"{measure} {count} latent dimensions, the largest first.",
        f"{caption} {bound.active_units} of {count} dimensions are active: their posterior mean varies over the data "
        "by more than 0.01.",
    )


def dimensions(bound: Bound, theme: Theme) -> Figure:
    """Draws a bar for each latent dimension, largest first: its KL, or its mean's variance if there is no KL."""
    figure = theme.figure(CHART_INCHES)
    axes = figure.subplots()
    by_kl, order = bound.kl_per_dimension, bound.informative_dimensions
    values = np.asarray(by_kl or bound.mean_variance_per_dimension)
    many = len(values) > MOST_BARS
    measure = "KL to the prior (nats per example)" if by_kl else "variance of the posterior mean"
    theme.dress(axes, f"dimensions by {'KL' if by_kl else 'variance'}" if many else "latent dimension", measure)
    axes.grid(visible=False, axis="x")
    axes.bar(np.arange(1, len(values) + 1), values[order], width=1.0 if many else 0.7, color=COLOURS[0])
    axes.set_xlim(0.4, len(values) + 0.6)
    if many:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xticks(np.arange(1, len(values) + 1), [str(i) for i in order])
    return figure


# --- latent space ---------------------------------------------------------------------------------------------------


def plan_latent(evidence: Evidence) -> Plan:
    """Plans the posterior means in the plane."""
    points, labels = latent_plane(evidence)
    classes, count = evidence.manifest.classes or (), evidence.num_rows
    caption = f"Posterior means of {count} {evidence.split} rows"
    caption += f", {DESCRIBED[evidence.projection]}." if evidence.config.model.latent_dim > 2 else "."
    by_class = None if evidence.labels is None or not classes else np.asarray(evidence.labels)
    is_given_class = "class" in evidence.config.model.condition
    if is_given_class:
        caption += " The model is given the class, so a good latent mixes the classes."
    if len(classes) > MOST_CLASSES and by_class is not None:
        caption += f" {len(classes)} classes are too many to distinguish by colour."
        by_class = None

    def draw(theme: Theme) -> Figure:
        figure = theme.figure(CHART_INCHES)
        axes = figure.subplots()
        theme.dress(axes, *labels)
        scatter(axes, points, by_class, classes)
        if by_class is not None:
            if not is_given_class:
                _name_clusters(axes, points, by_class, classes, theme)
            ncols = 5 if max(map(len, classes)) < 8 else 3
            theme.legend(figure, ncols=ncols, handletextpad=0.2, columnspacing=1.0)
        return figure

    return Plan(draw, f"Scatter of {count} latent means.", caption)


def latent_plane(evidence: Evidence) -> tuple[Array, tuple[str, str]]:
    """Returns the posterior means of the rows in two dimensions [N,2], and the labels of the axes.

    One latent dimension is plotted against its posterior standard deviation, two as they are, and more as the evidence's
    projection lays them out.
    """
    code = inference.encode(evidence.runnable(), evidence.inputs(slice(None)))
    mean_NL = code.mean.double().cpu().numpy()
    if mean_NL.shape[1] == 1:
        return np.hstack([mean_NL, code.std.double().cpu().numpy()]), ("posterior mean", "posterior standard deviation")
    if mean_NL.shape[1] == 2:
        return mean_NL, ("posterior mean, dimension 0", "posterior mean, dimension 1")
    return plane(mean_NL, evidence.projection)


def scatter(
    axes: Axes, points_N2: NDArray[np.floating], class_N: NDArray[np.int64] | None, classes: Sequence[str]
) -> None:
    """Draws points, those of each class in a colour and a shape of their own.

    Args:
        axes: The axes to draw on.
        points_N2: Coordinates of the points.
        class_N: Index of each point's class; None draws all points alike.
        classes: Names of the classes, for the legend.
    """
    style = {"s": 26 if len(points_N2) <= 200 else 12, "alpha": 0.85, "linewidths": 0}
    if class_N is None:
        axes.scatter(*points_N2.T, color=COLOURS[0], **style)
        return
    for index, name in enumerate(classes):
        if (class_N == index).any():
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            axes.scatter(*points_N2[class_N == index].T, color=colour, marker=marker, label=plain(name, 16), **style)


def _name_clusters(
    axes: Axes, points_N2: Array, class_N: NDArray[np.int64], classes: Sequence[str], theme: Theme
) -> None:
    """Writes the name of each class in the middle of its points, unless another name stands there already."""
    spread = np.ptp(points_N2, 0).clip(np.finfo(float).tiny)
    placed: list[Array] = []
    for index, name in enumerate(classes):
        if not (class_N == index).any():
            continue
        x, y = middle = np.median(points_N2[class_N == index], 0)
        if any((np.abs(middle - other) / spread < 0.05).all() for other in placed):
            continue
        placed.append(middle)
        axes.text(
            x, y, plain(name, 16), color=theme.ink, fontsize=FONT_SIZE, fontweight="bold", ha="center", va="center",
            path_effects=[withStroke(linewidth=3, foreground=theme.surface)],
        )  # fmt: skip
