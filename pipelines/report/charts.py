"""Curves, the latent space and its dimensions.

Shapes: N rows, L latent.
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

from pipelines.report import wording
from pipelines.report.evidence import Evidence
from pipelines.report.plan import Plan
from pipelines.report.projections import DESCRIBED, plane
from pipelines.report.theme import (
    CHART_INCHES,
    COLOURS,
    FONT_SIZE,
    INK,
    MARKERS,
    MUTED,
    SMALL_SIZE,
    SURFACE,
    blank,
    dress,
    plain,
)
from vae import inference
from vae.metrics.likelihood import Bound

# More classes than this are not told apart by colour and shape.
MOST_CLASSES = 20
MOST_BARS = 24
# Of the epochs, those left out of the vertical range where they are far above the rest.
EARLY = 0.1


# --- curves ---------------------------------------------------------------------------------------------------------


def curves(history: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None) -> Figure:
    """Distortion above rate over the epochs, in training and validation, with the best epoch marked."""
    figure = blank(CHART_INCHES)
    epochs = [epoch["epoch"] for epoch in history]
    for axes, part in zip(figure.subplots(2, 1, sharex=True), ("distortion", "rate"), strict=True):
        dress(axes, "epoch" if part == "rate" else "", f"{part}\n(nats per example)")
        lines = {split: _finite([epoch[f"{split}_{part}"] for epoch in history]) for split in ("train", "validation")}
        dots = {"marker": "o", "markersize": 4} if len(history) == 1 else {}
        dashes = (0, (4, 1.5))
        axes.plot(epochs, lines["train"], color=COLOURS[0], linewidth=1.3, linestyle=dashes, label="train", **dots)
        axes.plot(epochs, lines["validation"], color=COLOURS[1], linewidth=1.8, label="validation", **dots)
        _fit(axes, np.concatenate(list(lines.values())), np.concatenate([v[_settled(v)] for v in lines.values()]))
        if best is not None:
            axes.axvline(best["epoch"], color=MUTED, linewidth=1, linestyle=":")
            axes.plot(
                best["epoch"], best[f"validation_{part}"], marker="o", markersize=6,
                markerfacecolor=SURFACE, markeredgecolor=COLOURS[1], markeredgewidth=1.8, linestyle="",
                label=f"best epoch, {best['epoch']}",
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if part == "distortion":
            _legend(axes)
    return figure


def is_clipped(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether early epochs lie outside the frame of `curves`."""
    keys = [f"{split}_{part}" for split in ("train", "validation") for part in ("distortion", "rate")]
    return any(_frame(v, v[_settled(v)]) is not None for key in keys if len(v := _finite([e[key] for e in history])))


def _settled(values: NDArray[np.float64]) -> slice:
    return slice(math.ceil(EARLY * len(values)) if len(values) >= 20 else 0, None)


def _frame(values: NDArray[np.float64], settled: NDArray[np.float64]) -> tuple[float, float] | None:
    """The vertical range without early epochs, where those would squeeze the rest into less than half of it."""
    if not np.isfinite(settled).any():
        return None
    low, high = np.nanmin(settled), np.nanmax(settled)
    span = high - low
    if not span or np.nanmax(values) - np.nanmin(values) < 2 * span:
        return None
    return low - 0.08 * span, high + 0.08 * span


def _fit(axes: Axes, values: NDArray[np.float64], settled: NDArray[np.float64]) -> None:
    if (frame := _frame(values, settled)) is not None:
        axes.set_ylim(frame)


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    return np.where(np.isfinite(array), array, np.nan)


# --- the latent space -----------------------------------------------------------------------------------------------


def dimensions(bound: Bound) -> Figure:
    """The latent dimensions, the most informative first: by KL, or by the mean's variance where there is no KL."""
    figure = blank(CHART_INCHES)
    axes = figure.subplots()
    by_kl, order = bound.kl_per_dimension, bound.informative_dimensions
    values = np.asarray(by_kl or bound.mean_variance_per_dimension)
    many = len(values) > MOST_BARS
    measure = "KL to the prior (nats per example)" if by_kl else "variance of the posterior mean"
    dress(axes, f"dimensions by {'KL' if by_kl else 'variance'}" if many else "latent dimension", measure)
    axes.grid(visible=False, axis="x")
    axes.bar(np.arange(1, len(values) + 1), values[order], width=1.0 if many else 0.7, color=COLOURS[0])
    axes.set_xlim(0.4, len(values) + 0.6)
    if many:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xticks(np.arange(1, len(values) + 1), [str(i) for i in order])
    return figure


def latent_plane(evidence: Evidence) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Posterior means of the rows in two dimensions [N,2], and what the axes are.

    One latent dimension is shown against its posterior standard deviation, two as they are, more as the evidence's
    projection lays them out.
    """
    assert evidence.model is not None, "callers ask `cannot_run` first"
    code = inference.encode(evidence.model, evidence.inputs(slice(None)))
    mean_NL = code.mean.double().cpu().numpy()
    if mean_NL.shape[1] == 1:
        return np.hstack([mean_NL, code.std.double().cpu().numpy()]), ("posterior mean", "posterior standard deviation")
    if mean_NL.shape[1] == 2:
        return mean_NL, ("posterior mean, dimension 0", "posterior mean, dimension 1")
    return plane(mean_NL, evidence.projection)


def latent(evidence: Evidence) -> Figure:
    """Posterior means of the rows, by class where there are labels."""
    points, (xlabel, ylabel) = latent_plane(evidence)
    figure = blank(CHART_INCHES)
    axes = figure.subplots()
    dress(axes, xlabel, ylabel)
    classes = evidence.manifest.classes
    size = 26 if len(points) <= 200 else 12
    if evidence.labels is None or not classes or len(classes) > MOST_CLASSES:
        axes.scatter(*points.T, s=size, color=COLOURS[0], alpha=0.85, linewidths=0)
        return figure
    labels = np.asarray(evidence.labels[: len(points)])
    for index, name in enumerate(classes):
        of_class = points[labels == index]
        if len(of_class):
            axes.scatter(
                *of_class.T, s=size, color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)],
                alpha=0.85, linewidths=0, label=plain(name, 16),
            )  # fmt: skip
    if "class" not in evidence.config.model.condition:
        _name_clusters(axes, points, labels, classes)
    figure.legend(
        loc="outside lower center", ncols=5 if max(map(len, classes)) < 8 else 3, fontsize=SMALL_SIZE, frameon=False,
        labelcolor=INK, handletextpad=0.2, columnspacing=1.0,
    )  # fmt: skip
    return figure


def _name_clusters(axes: Axes, points: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Writes each class's name in the middle of its points, where no other name stands yet."""
    spread = np.ptp(points, 0).clip(np.finfo(float).tiny)
    placed: list[NDArray[np.float64]] = []
    for index, name in enumerate(classes):
        if not (labels == index).any():
            continue
        x, y = middle = np.median(points[labels == index], 0)
        if any((np.abs(middle - other) / spread < 0.05).all() for other in placed):
            continue
        placed.append(middle)
        axes.text(
            x, y, plain(name, 16), color=INK, fontsize=FONT_SIZE, fontweight="bold", ha="center", va="center",
            path_effects=[withStroke(linewidth=3, foreground=SURFACE)],
        )  # fmt: skip


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="upper right",
        fontsize=SMALL_SIZE,
        labelcolor=INK,
        facecolor=SURFACE,
        edgecolor="none",
        framealpha=0.8,
    )


# --- on the page ----------------------------------------------------------------------------------------------------


def plan_curves(evidence: Evidence) -> Plan | str:
    """Distortion and rate over the epochs."""
    if not evidence.history:
        return "no epoch was finished" if evidence.model is None else "its epochs were not kept"
    history, best = list(evidence.history), evidence.best
    caption = (
        "Training figures are means over the epoch while the weights move; validation is measured at the epoch's end. "
        "The best epoch has the lowest validation value of the loss that is trained, and its weights are kept."
    )
    if is_clipped(history):
        caption += " The first tenth of the epochs goes beyond the frame."
    alt = f"Distortion and rate in nats per example over {len(history)} epochs, training and validation"
    return Plan(
        lambda: curves(history, best),
        f"{alt}; best epoch {best['epoch']}." if best else f"{alt}.",
        caption,
    )


def plan_dimensions(evidence: Evidence) -> Plan | str:
    """What each latent dimension carries."""
    bound, count = evidence.bound, evidence.config.model.latent_dim
    if bound is None:
        return f"nothing was measured on the {evidence.split} split"
    if bound.kl_per_dimension:
        measure = "KL to the prior of each of"
        caption = f"Means over the {evidence.split} split; they add up to the rate, {wording.nats(bound.rate)} nats."
    else:
        measure = f"Variance of the posterior mean over the {evidence.split} split, for each of"
        caption = f"{measure} the latent dimensions: this model's KL has no closed form for each of them."
    return Plan(
        lambda: dimensions(bound),
        f"{measure} {count} latent dimensions, the largest first.",
        f"{caption} {bound.active_units} of {count} dimensions are active: their posterior mean varies over the data "
        "by more than 0.01.",
    )


def plan_latent(evidence: Evidence) -> Plan | str:
    """The posterior means in the plane."""
    if reason := evidence.cannot_run:
        return reason
    classes = evidence.manifest.classes
    count = evidence.num_rows
    laid_out = f", {DESCRIBED[evidence.projection]}" if evidence.config.model.latent_dim > 2 else ""
    caption = f"Posterior means of {count} {evidence.split} rows{laid_out}."
    if "class" in evidence.config.model.condition:
        caption += " The model is told the class, so a good latent mixes the classes."
    if classes and evidence.labels is not None and len(classes) > MOST_CLASSES:
        caption += f" {len(classes)} classes are too many to tell apart by colour."
    return Plan(lambda: latent(evidence), f"Scatter of {count} latent means.", caption)
