"""Effect of each latent dimension: sprites along every dimension, the most informative first.

Shapes: N sprites, D dimensions, T values, F factors; images are [N,1,64,64].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.feature_selection import mutual_info_regression

from pipelines.report.theme import LIGHT, SMALL_SIZE
from tests.benchmarks.page import Claim, grid
from tests.benchmarks.uses.edit import SPLITS, configuration, dataset_of, sprites_of  # noqa: F401  SPLITS for the page
from tests.benchmarks.uses.work import mosaic, seeded, show
from tests.benchmarks.work import Figures, Job, Outcome, train
from vae.data.parquet import Dataset
from vae.inference.coding import encode
from vae.inference.paths import traverse
from vae.parts.terms import Inputs

SEEDS = (0,)
FACTORS = ("shape", "scale", "x", "y")
NUM_SPRITES = 200
ACTIVE = 0.1
"""Nats from which on a dimension is active."""
EXTENT, NUM_POINTS = 2.0, 9
TIMES = 10.0
"""Least ratio of the smallest change by an active dimension to the largest change by an inactive one."""
MEASURED = ("dimension", "kl", "change", "factor", "shared")
"""Figures of each dimension, in the order in which `traverse` returns the dimensions."""


def measure(home: Path, dataset: Dataset, seed: int) -> Figures:
    """Trains, and returns the KL of each dimension, its effect on the output, and the factor that it goes with."""
    model = train(configuration(seed=seed), dataset, last=True).model
    x, codes_NF = sprites_of("test")
    few = Inputs(x[:NUM_SPRITES])
    walked = traverse(model, few, extent=EXTENT, num_points=NUM_POINTS)
    change_D = (walked.examples[:, :, -1] - walked.examples[:, :, 0]).abs().mean((0, 2, 3, 4))
    z_NL = encode(model, Inputs(x)).mean.numpy()
    figures: dict[str, float] = {}
    for place, dimension in enumerate(walked.dimensions.tolist()):
        z_N1 = z_NL[:, [dimension]]
        shared_F = [mutual_info_regression(z_N1, codes_N, random_state=0)[0] for codes_N in codes_NF.T]
        best = int(np.argmax(shared_F))
        values = (dimension, walked.kl[place], 100 * change_D[place], best, shared_F[best])
        figures |= {f"{place}, {name}": float(value) for name, value in zip(MEASURED, values, strict=True)}
    kept = {"values": walked.values.numpy(), "examples": walked.examples[0, :, :, 0].numpy()}
    np.savez(home / f"traverse-{seed}.npz", allow_pickle=False, **kept)
    return figures


def jobs(home: Path) -> list[Job]:
    """Returns the trainings."""
    return seeded("β-TCVAE", "upright sprites", SEEDS, measure, home, dataset_of(home))


def dimensions(figures: Figures) -> list[dict[str, float]]:
    """Returns the figures of each dimension."""
    places = range(configuration().model.latent_dim)
    return [{name: figures[f"{place}, {name}"] for name in MEASURED} for place in places]


def factor_of(dimension: dict[str, float]) -> str:
    """Returns the name of the factor that an active dimension goes with, and nothing for an inactive one."""
    return FACTORS[int(dimension["factor"])] if dimension["kl"] >= ACTIVE else ""


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns a row for each dimension of each model."""
    rows = []
    for outcome in outcomes:
        for d in dimensions(outcome.figures):
            goes_with = f"{factor} ({d['shared']:.2f} nats)" if (factor := factor_of(d)) else ""
            numbers = [f"{d['dimension']:.0f}", f"{d['kl']:.3f}", f"{d['change']:.3f}"]
            rows.append([str(outcome.seed), *numbers, goes_with])
    picture = "![A sprite along each dimension of the latent](../../../docs/traverse.png)"
    return f"{grid(('seed', 'dimension', 'KL, nats', 'change', 'goes with'), rows)}\n\n{picture}"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims: KL falls; active dimensions move the output, others do not; every factor has a dimension."""
    models = [dimensions(outcome.figures) for outcome in outcomes]
    falling = sum(all(a["kl"] >= b["kl"] for a, b in pairwise(model)) for model in models)
    times, kinds = [], []
    for model in models:
        active = [d for d in model if d["kl"] >= ACTIVE]
        rest = [d["change"] for d in model if d["kl"] < ACTIVE]
        times.append(min(d["change"] for d in active) / max(rest) if active and rest else 0.0)
        kinds.append(len({d["factor"] for d in active}))
    least = "the active dimension that changes least changes more than the inactive one that changes most"
    factors = "each of shape, scale, x and y has an active dimension that goes with it"
    listed = ", ".join(f"{value:.1f}" for value in times)
    return [
        Claim.of_all("dimensions come sorted by KL", falling, len(models), " models"),
        Claim(least, f"{TIMES:g} times as much", listed, min(times) >= TIMES),
        Claim(factors, f"{len(FACTORS)} factors", ", ".join(map(str, kinds)), min(kinds) == len(FACTORS)),
    ]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws a row for each dimension, the most informative on top."""
    first = next(outcome for outcome in outcomes if outcome.seed == SEEDS[0])
    rows = dimensions(first.figures)
    figure, small = LIGHT.figure(3.9), {"color": LIGHT.ink, "fontsize": SMALL_SIZE}
    axes = figure.subplots()
    with np.load(home / f"traverse-{SEEDS[0]}.npz") as kept:
        images_DTHW, values_T = kept["examples"], kept["values"]
        show(axes, mosaic(images_DTHW, gap=3))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    places = [67 * place + 32 for place in range(max(len(rows), len(values_T)))]
    axes.set_yticks(places[: len(rows)], [f"{d['kl']:.2f}" for d in rows], **small)
    axes.set_ylabel("KL, nats", **small)
    signed = [f"{value:+g}".replace("-", "−") if value else "0" for value in values_T]
    axes.set_xticks(places[: len(values_T)], signed, **small)
    axes.xaxis.tick_top()
    right = axes.secondary_yaxis("right")
    right.set_yticks(places[: len(rows)], [factor_of(d) for d in rows], **small)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    return figure
