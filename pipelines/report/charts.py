"""Curves, the latent space and its dimensions.

Shapes: N rows, L latent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipelines.report.evidence import Evidence
from pipelines.report.theme import (
    CHART_INCHES,
    COLOURS,
    FONT_SIZE,
    MARKERS,
    SMALL_SIZE,
    Theme,
    blank,
    dress,
    plain,
    png,
)
from vae import inference
from vae.metrics.likelihood import Bound

LATENT_ROWS = 2000
# More classes than this are not told apart by colour and shape.
MOST_CLASSES = 20
MOST_BARS = 24
# Of the epochs, those left out of the vertical range where they are far above the rest.
EARLY = 0.1


# --- curves ---------------------------------------------------------------------------------------------------------


def curves(history: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None, theme: Theme) -> bytes:
    """Distortion above rate over the epochs, in training and validation, with the best epoch marked."""
    figure = blank(theme, CHART_INCHES)
    epochs = [epoch["epoch"] for epoch in history]
    for axes, part in zip(figure.subplots(2, 1, sharex=True), ("distortion", "rate"), strict=True):
        dress(axes, theme, "epoch" if part == "rate" else "", f"{part}\n(nats per example)")
        lines = {split: _finite([epoch[f"{split}_{part}"] for epoch in history]) for split in ("train", "validation")}
        dots = {"marker": "o", "markersize": 4} if len(history) == 1 else {}
        dashes = (0, (4, 1.5))
        axes.plot(epochs, lines["train"], color=COLOURS[0], linewidth=1.3, linestyle=dashes, label="train", **dots)
        axes.plot(epochs, lines["validation"], color=COLOURS[1], linewidth=1.8, label="validation", **dots)
        _fit(axes, np.concatenate(list(lines.values())), np.concatenate([v[_settled(v)] for v in lines.values()]))
        if best is not None:
            axes.axvline(best["epoch"], color=theme.muted, linewidth=1, linestyle=":")
            axes.plot(
                best["epoch"], best[f"validation_{part}"], marker="o", markersize=6,
                markerfacecolor=theme.surface, markeredgecolor=COLOURS[1], markeredgewidth=1.8, linestyle="",
                label=f"best epoch, {best['epoch']}",
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if part == "distortion":
            _legend(axes, theme)
    return png(figure)


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


def dimensions(bound: Bound, theme: Theme) -> bytes:
    """The latent dimensions, the most informative first: by KL, or by the mean's variance where there is no KL."""
    figure = blank(theme, CHART_INCHES)
    axes = figure.subplots()
    by_kl, order = bound.kl_per_dimension, bound.informative_dimensions
    values = np.asarray(by_kl or bound.mean_variance_per_dimension)
    many = len(values) > MOST_BARS
    measure = "KL to the prior (nats per example)" if by_kl else "variance of the posterior mean"
    dress(axes, theme, f"dimensions by {'KL' if by_kl else 'variance'}" if many else "latent dimension", measure)
    axes.grid(visible=False, axis="x")
    axes.bar(np.arange(1, len(values) + 1), values[order], width=1.0 if many else 0.7, color=COLOURS[0])
    axes.set_xlim(0.4, len(values) + 0.6)
    if many:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xticks(np.arange(1, len(values) + 1), [str(i) for i in order])
    return png(figure)


def latent_plane(evidence: Evidence) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Posterior means of the test rows in two dimensions [N,2], and what the axes are.

    One latent dimension is shown against its posterior standard deviation, two as they are, more by their principal
    components.
    """
    assert evidence.model is not None, "callers ask `cannot_run` first"
    code = inference.encode(evidence.model, evidence.inputs(LATENT_ROWS))
    mean_NL = code.mean.double().cpu().numpy()
    if mean_NL.shape[1] == 1:
        return np.hstack([mean_NL, code.std.double().cpu().numpy()]), ("posterior mean", "posterior standard deviation")
    if mean_NL.shape[1] == 2:
        return mean_NL, ("posterior mean, dimension 0", "posterior mean, dimension 1")
    centred = mean_NL - mean_NL.mean(0)
    _, singular, axes_LL = np.linalg.svd(centred, full_matrices=False)
    if len(singular) < 2:
        return mean_NL[:, :2], ("posterior mean, dimension 0", "posterior mean, dimension 1")
    # A principal axis has no sign of its own: its largest entry is made positive, so that two reports look alike.
    axes_2L = axes_LL[:2] * np.sign(axes_LL[:2][[0, 1], np.abs(axes_LL[:2]).argmax(1)])[:, None]
    share = 100 * singular**2 / max((singular**2).sum(), np.finfo(float).tiny)
    first, second = (
        f"{rank} principal component ({part:.0f} % of variance)"
        for rank, part in zip(("1st", "2nd"), share, strict=False)
    )
    return centred @ axes_2L.T, (first, second)


def latent(evidence: Evidence, theme: Theme) -> bytes:
    """Posterior means of the test rows, by class where there are labels."""
    points, (xlabel, ylabel) = latent_plane(evidence)
    figure = blank(theme, CHART_INCHES)
    axes = figure.subplots()
    dress(axes, theme, xlabel, ylabel)
    classes = evidence.dataset.classes
    size = 26 if len(points) <= 200 else 12
    if evidence.labels is None or not classes or len(classes) > MOST_CLASSES:
        axes.scatter(*points.T, s=size, color=COLOURS[0], alpha=0.85, linewidths=0)
        return png(figure)
    labels = np.asarray(evidence.labels[: len(points)])
    for index, name in enumerate(classes):
        of_class = points[labels == index]
        if len(of_class):
            axes.scatter(
                *of_class.T, s=size, color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)],
                alpha=0.85, linewidths=0, label=plain(name, 16),
            )  # fmt: skip
    if "class" not in evidence.config.model.condition:
        _name_clusters(axes, points, labels, classes, theme)
    figure.legend(
        loc="outside lower center", ncols=5 if max(map(len, classes)) < 8 else 3, fontsize=SMALL_SIZE, frameon=False,
        labelcolor=theme.ink, handletextpad=0.2, columnspacing=1.0,
    )  # fmt: skip
    return png(figure)


def _name_clusters(
    axes: Axes, points: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str], theme: Theme
) -> None:
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
            x, y, plain(name, 16), color=theme.ink, fontsize=FONT_SIZE, fontweight="bold", ha="center", va="center",
            path_effects=[withStroke(linewidth=3, foreground=theme.surface)],
        )  # fmt: skip


def _legend(axes: Axes, theme: Theme) -> None:
    axes.legend(
        loc="upper right",
        fontsize=SMALL_SIZE,
        labelcolor=theme.ink,
        facecolor=theme.surface,
        edgecolor="none",
        framealpha=0.8,
    )
