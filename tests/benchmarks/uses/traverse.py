"""What each dimension of the latent does: sprites along every one of them, the most informative first.

Shapes: N sprites, D dimensions, T values, F factors; images are [N,1,64,64].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.feature_selection import mutual_info_regression

from pipelines.report.theme import INK, SMALL_SIZE, blank
from tests.benchmarks.reproduce.page import grid
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.edit import SPLITS, configuration, dataset_of, sprites_of
from tests.benchmarks.uses.work import mosaic, show
from vae.data.parquet import Dataset
from vae.inference.coding import encode
from vae.inference.paths import traverse
from vae.model import VAE, Inputs

TITLE: str = "Traversing the latent of sprites"
LEGEND: str = (
    "A row for each dimension and seed. Change: the mean absolute difference of a pixel between the outputs at −2 and at "
    "+2, in hundredths of the pixel's range."
)
SEEDS = (0,)
FACTORS = ("shape", "scale", "x", "y")
NUM_SPRITES = 200
ACTIVE = 0.1
"""A dimension of less than so many nats is inactive."""
EXTENT, NUM_POINTS = 2.0, 9
TIMES = 10.0
"""By what factor the least active dimension is to change more than the most changing inactive one."""


def measure(home: Path, dataset: Dataset, seed: int, split: str = "test") -> Figures:
    """Trains, and walks along every dimension from sprites of a split."""
    model = train(configuration(seed=seed), dataset, last=True).model
    x, codes_NF = sprites_of(split)
    return compare(home, seed, model, Inputs(x), codes_NF)


def compare(home: Path, seed: int, model: VAE, inputs: Inputs, codes_NF: NDArray[np.int64]) -> Figures:
    """KL of each dimension, how much it changes the output, and which factor it goes with."""
    few = Inputs(inputs.x[:NUM_SPRITES])
    found = traverse(model, few, extent=EXTENT, num_points=NUM_POINTS)
    change_D = (found.examples[:, :, -1] - found.examples[:, :, 0]).abs().mean((0, 2, 3, 4))
    z_NL = encode(model, inputs).mean.numpy()
    figures: dict[str, float] = {}
    for place, dimension in enumerate(found.dimensions.tolist()):
        shared_F = [
            mutual_info_regression(z_NL[:, [dimension]], codes_NF[:, f], random_state=0)[0] for f in range(len(FACTORS))
        ]
        best = int(np.argmax(shared_F))
        figures |= {
            f"{place}, dimension": float(dimension),
            f"{place}, kl": found.kl[place].item(),
            f"{place}, change": 100 * change_D[place].item(),
            f"{place}, factor": float(best),
            f"{place}, shared": float(shared_F[best]),
        }
    kept = {"kl": found.kl.numpy(), "given": few.x[:1, 0].numpy(), "examples": found.examples[0, :, :, 0].numpy()}
    np.savez(home / f"traverse-{seed}.npz", allow_pickle=False, values=found.values.numpy(), **kept)
    return figures


def jobs(home: Path) -> list[Job]:
    """What is trained and measured."""
    dataset = dataset_of(home)
    return [Job("β-TCVAE", "upright sprites", seed, partial(measure, home, dataset, seed)) for seed in SEEDS]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration()
    model, training = config.model, config.training
    return (
        f"The model is that of the page on editing: β-TCVAE, {model.encoder.model_dump()}, {model.latent_dim} latents, "
        f"batches of {training.batch_size}, {training.epochs} epochs of {SPLITS['train']:,} upright sprites, the last "
        "weights. It is told nothing of shape, scale and place.",
        f"From the latents of {NUM_SPRITES} test sprites one dimension after the other is set to {NUM_POINTS} values "
        f"between −{EXTENT:g} and +{EXTENT:g}, the others left alone. KL is the mean of KL(q(z|x) ‖ p(z)) over these.",
        f"Active: {ACTIVE:g} nats or more. Goes with: the factor of which the dimension's posterior mean tells most, over "
        f"all {SPLITS['test']:,} test sprites, by scikit-learn's estimate of the mutual information in nats.",
    )


SHORTFALLS: tuple[str, ...] = (
    "A dimension goes with a factor most, not with it alone: in the picture sprites that move change their size as well, "
    "and far from where a sprite lies the outputs come apart. Six dimensions share four factors.",
    "Nothing names a dimension: what it goes with is seen by the factors, which a user's own data may not have.",
    "One seed, at β-TCVAE's setting of the page on editing; nothing was tuned for this page.",
)


def dimensions(figures: Figures) -> list[dict[str, float]]:
    """What was found of each dimension, in the order in which `traverse` gave them."""
    names = ("dimension", "kl", "change", "factor", "shared")
    return [{name: figures[f"{place}, {name}"] for name in names} for place in range(configuration().model.latent_dim)]


def render(outcomes: Sequence[Outcome]) -> str:
    """A row for each dimension of each model."""
    rows = [
        [
            str(outcome.seed),
            f"{d['dimension']:.0f}",
            f"{d['kl']:.3f}",
            f"{d['change']:.3f}",
            f"{FACTORS[int(d['factor'])]} ({d['shared']:.2f} nats)" if d["kl"] >= ACTIVE else "",
        ]
        for outcome in outcomes
        for d in dimensions(outcome.figures)
    ]
    picture = "![A sprite along each dimension of the latent](../../../docs/traverse.png)"
    return f"{grid(('seed', 'dimension', 'KL, nats', 'change', 'goes with'), rows)}\n\n{picture}"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Sorted by KL; what is active moves the output, and the rest does not; every factor has a dimension."""
    found = [dimensions(outcome.figures) for outcome in outcomes]
    falling = sum(all(a["kl"] >= b["kl"] for a, b in pairwise(each)) for each in found)
    times, kinds = [], []
    for each in found:
        active = [d for d in each if d["kl"] >= ACTIVE]
        rest = [d["change"] for d in each if d["kl"] < ACTIVE]
        times.append(min(d["change"] for d in active) / max(rest) if active and rest else 0.0)
        kinds.append(len({d["factor"] for d in active}))
    seeds = len(outcomes)
    return [
        Claim("dimensions come sorted by KL", f"{seeds} of {seeds} models", f"{falling} of {seeds}", falling == seeds),
        Claim(
            "the active dimension that changes least changes more than the inactive one that changes most",
            f"{TIMES:g} times as much",
            ", ".join(f"{value:.1f}" for value in times),
            min(times) >= TIMES,
        ),
        Claim(
            "each of shape, scale, x and y has an active dimension that goes with it",
            f"{len(FACTORS)} factors",
            ", ".join(map(str, kinds)),
            min(kinds) == len(FACTORS),
        ),
    ]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """A row for each dimension, the most informative on top."""
    first = next(outcome for outcome in outcomes if outcome.seed == SEEDS[0])
    found = dimensions(first.figures)
    figure = blank(3.9)
    axes = figure.subplots()
    with np.load(home / f"traverse-{SEEDS[0]}.npz") as kept:
        images_DTHW, values_T = kept["examples"], kept["values"]
        show(axes, mosaic(images_DTHW, gap=3))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    places = [67 * place + 32 for place in range(len(found))]
    words = [f"{d['kl']:.2f}" for d in found]
    axes.set_yticks(places, words, color=INK, fontsize=SMALL_SIZE)
    axes.set_ylabel("KL, nats", color=INK, fontsize=SMALL_SIZE)
    axes.set_xticks(
        [67 * place + 32 for place in range(len(values_T))],
        [f"{value:+g}".replace("-", "−") if value else "0" for value in values_T],
        color=INK,
        fontsize=SMALL_SIZE,
    )
    axes.xaxis.tick_top()
    right = axes.secondary_yaxis("right")
    names = [FACTORS[int(d["factor"])] if d["kl"] >= ACTIVE else "" for d in found]
    right.set_yticks(places, names, color=INK, fontsize=SMALL_SIZE)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    return figure
