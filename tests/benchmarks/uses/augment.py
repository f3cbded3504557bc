"""Augmentation of a hundred labelled digits among twenty thousand, by samples of models of them all.

Labels spread among neighbours in the latent of a model without labels. A second model, conditioned on the class, learns
from the images with the surest labels, and draws samples of each class.

Shapes: N images, L latent; images are [N,1,28,28].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from pipelines.report.theme import COLOURS, FONT_SIZE, LIGHT, MARKERS, SMALL_SIZE
from tests.benchmarks.evidence import interval, interval_claim
from tests.benchmarks.page import Claim, figures_of, grid, summary
from tests.benchmarks.uses.work import digits, fit_judge, judged, mnist, pixels, plain_run, seeded, show
from tests.benchmarks.work import Figures, Job, Outcome, train
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.inference.coding import encode, generate
from vae.model import VAE
from vae.parts.terms import Inputs

SEEDS = (0, 1, 2, 3, 4)
num_seeds = len(SEEDS)
PER_CLASS, NUM_IMAGES, NUM_VALIDATION, NUM_TEST = 10, 20_000, 1_000, 5_000
"""Labels of each class; images of the models, and how many of them validate; images that measure the classifiers."""
NEIGHBOURS, SURE = 7, 0.7
"""Neighbours in the graph that labels spread on; share of images, the surest, that keep their label."""
NUM_GENERATED = 10_000
STEPS = 300
"""Training steps of each classifier, in batches of 64."""
ALONE, SAMPLES, SHIFTS, BOTH = "labels alone", "with samples", "with shifts", "with samples and shifts"
SPREAD = "with spread labels"
ROWS = (ALONE, SAMPLES, SHIFTS, BOTH, SPREAD)
Labelled = tuple[Tensor, Tensor]
"""Images in [0, 1] and their classes [N]."""


def choose_labelled(label_N: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Returns the indices of ten images of each class, others for each seed."""
    rng = np.random.default_rng(100 + seed)
    chosen = [rng.choice(np.flatnonzero(label_N == k), PER_CLASS, replace=False) for k in range(10)]
    return rng.permutation(np.concatenate(chosen))


def configuration(**changes: Any) -> RunConfig:
    """Returns the run of either model."""
    return plain_run(16, **({"epochs": 12, "ema_decay": 0.998, "learning_rate_schedule": "constant"} | changes))


def spread_labels(
    z_NL: NDArray[np.float32], chosen: NDArray[np.int64], label_K: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns a label for every latent, and the indices of the surest labels.

    References:
        Zhou et al., Learning with Local and Global Consistency (2004), as in scikit-learn.
    """
    known_N = np.full(len(z_NL), -1)
    known_N[chosen] = label_K
    spread = LabelSpreading("knn", n_neighbors=NEIGHBOURS, alpha=0.2).fit(z_NL, known_N)
    order = np.argsort(-spread.label_distributions_.max(1), kind="stable")
    return spread.transduction_, np.sort(order[: round(SURE * len(z_NL))])


def measure(home: Path, source: Dataset, seed: int) -> Figures:
    """Trains a model, spreads labels, trains a second model, and returns the test accuracy of each classifier."""
    images, label_N = digits(source, "train", 0, NUM_IMAGES)
    chosen = choose_labelled(label_N, seed)
    model = train(configuration(seed=seed), subset(home / f"all-{seed}", images, None), last=True).model
    x = pixels(images)
    z_NL = torch.cat([encode(model, Inputs(part)).mean for part in x.split(2_000)]).numpy()
    spread_N, sure = spread_labels(z_NL, chosen, label_N[chosen])
    labelled = subset(home / f"sure-{seed}", images[sure], spread_N[sure])
    conditional = train(configuration(seed=seed, condition=["class"]), labelled, last=True).model
    known = x[chosen], torch.from_numpy(label_N[chosen])
    figures = compare(home, seed, conditional, known, (x[sure], torch.from_numpy(spread_N[sure])), source)
    right_N = spread_N == label_N
    return figures | {"spread, right": float(right_N.mean()), "surest, right": float(right_N[sure].mean())}


def subset(folder: Path, images: NDArray[np.uint8], label_N: NDArray[np.int64] | None) -> Dataset:
    """Publishes images as a dataset; the last thousand validate."""
    splits = {"train": len(images) - NUM_VALIDATION, "validation": NUM_VALIDATION}
    return _publish(folder, images[:, None], label_N, splits, group_rows=1000)


def compare(home: Path, seed: int, model: VAE, known: Labelled, spread: Labelled, source: Dataset) -> dict[str, float]:
    """Returns the accuracy of the classifier of each row."""
    tests, test_label_N = digits(source, "test", 0, NUM_TEST)
    label_N = torch.arange(NUM_GENERATED) % 10
    drawn = generate(model, NUM_GENERATED, model.condition(label_N), seed=seed), label_N
    figures = {}
    for row in ROWS:
        x, y = known
        if row in (SAMPLES, BOTH, SPREAD):  # as many of the hundred as of the others, so that a batch is half of each
            more_x, more_y = spread if row == SPREAD else drawn
            repeats = len(more_x) // len(x)
            x, y = torch.cat([x.repeat(repeats, 1, 1, 1), more_x]), torch.cat([y.repeat(repeats), more_y])
        judge = fit_judge(x, y, 10, steps=STEPS, seed=seed, shift=2 if row in (SHIFTS, BOTH) else 0)
        right_N = judged(judge, pixels(tests)) == torch.from_numpy(test_label_N)
        figures[row] = right_N.float().mean().item()
    order = known[1].argsort(stable=True)
    real, more = known[0][order, 0].numpy(), drawn[0][:100, 0].numpy()
    np.savez(home / f"augment-{seed}.npz", allow_pickle=False, real=real, more=more)
    return figures


def jobs(home: Path) -> list[Job]:
    """Returns the trainings."""
    return seeded("all", "MNIST, 100 labels", SEEDS, measure, home, mnist(home))


def differences(outcomes: Sequence[Outcome], better: str, worse: str) -> list[float]:
    """Returns the difference in accuracy of each seed, in points."""
    return [100 * (o.figures[better] - o.figures[worse]) for o in outcomes]


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns accuracies, differences by seed, and how many spread labels are right."""

    def percent(figure: str) -> str:
        return summary([100 * value for value in figures_of(outcomes, figure)], 1)

    compared = []
    for better, worse in ((SAMPLES, ALONE), (BOTH, SHIFTS), (SAMPLES, SPREAD)):
        each = differences(outcomes, better, worse)
        listed = ", ".join(f"{value:+.1f}" for value in each)
        compared.append([f"{better} − {worse}", interval(each).text(2, "+"), listed])
    labels = [["all images", percent("spread, right")], [f"the surest {SURE:.0%}", percent("surest, right")]]
    parts = [
        grid(("the classifier learns from", "accuracy, %"), [[row, percent(row)] for row in ROWS]),
        grid(("difference by seed", "mean (95 % interval), points", "each seed"), compared),
        grid(("labels that spread", "right, %"), labels),
        "![Accuracies by seed, and samples of each class](../../../docs/augment.png)",
    ]
    return "\n\n".join(parts)


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claim that the samples help, by the interval of the difference."""
    text, gains = f"{SAMPLES} above {ALONE}, paired by seed", differences(outcomes, SAMPLES, ALONE)
    return [interval_claim(text, gains, "above", decimals=1, unit=" points")]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws accuracies by seed on top, real digits and samples of each class below."""
    figure = LIGHT.figure(5.2)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    axes = upper.subplots()
    LIGHT.dress(axes, "accuracy on the test split, %")
    for number, row in enumerate(ROWS):
        values = [100 * o.figures[row] for o in outcomes]
        height = [len(ROWS) - 1 - number] * len(values)
        axes.plot(values, height, MARKERS[number], color=COLOURS[number], markersize=5, alpha=0.8)
        axes.plot([np.mean(values)] * 2, [height[0] - 0.3, height[0] + 0.3], color=LIGHT.ink, linewidth=1.5)
    axes.set_yticks(range(len(ROWS)), ROWS[::-1], color=LIGHT.ink, fontsize=SMALL_SIZE)
    axes.set_ylim(-0.6, len(ROWS) - 0.4)
    with np.load(home / f"augment-{SEEDS[0]}.npz") as kept:
        real, more = kept["real"].reshape(10, PER_CLASS, 28, 28), kept["more"].reshape(10, 10, 28, 28)
    lower.suptitle("top three rows: of the hundred images; below: samples", fontsize=FONT_SIZE, color=LIGHT.ink)
    lines = lower.subplots(6, 10)
    for row, line in enumerate(lines):
        for label, one in enumerate(line):
            show(one, real[label, row] if row < 3 else more[row, label])
    return figure
