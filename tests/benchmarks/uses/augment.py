"""A hundred labelled digits and more of each class from a model that saw the hundred alone.

Shapes: N images; images are [N,1,28,28].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pipelines.report.theme import COLOURS, FONT_SIZE, LIGHT, MARKERS, SMALL_SIZE, blank, dress
from tests.benchmarks.reproduce.page import grid, summary
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.work import SEEDS_LEGEND, digits, fit_judge, judged, mnist, run_config, show
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.inference.coding import generate
from vae.model import VAE

TITLE: str = "Augmenting a hundred labelled digits"
LEGEND: str = f"{SEEDS_LEGEND} A seed has its own hundred images."
SEEDS = (0, 1, 2, 3, 4)
PER_CLASS, NUM_TEST = 10, 5_000
NUM_GENERATED = 2_000
STEPS = 300
"""Of the classifier, with and without, in batches of 64."""


def labelled(source: Dataset, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Ten images of each class, others for each seed."""
    images, label_N = digits(source, "train", 0, 20_000)
    rng = np.random.default_rng(100 + seed)
    chosen = np.concatenate([rng.choice(np.flatnonzero(label_N == k), PER_CLASS, replace=False) for k in range(10)])
    chosen = rng.permutation(chosen)
    return images[chosen], label_N[chosen]


def dataset_of(home: Path, images: NDArray[np.uint8], label_N: NDArray[np.int64]) -> Dataset:
    """The hundred as a dataset. They validate too, for a run needs a validation split: nothing is chosen by it."""
    twice = np.concatenate([images, images])[:, None]
    splits = {"train": len(images), "validation": len(images)}
    return _publish(home, twice, np.concatenate([label_N, label_N]), splits)


def configuration(**training: object) -> RunConfig:
    """The run of a conditional model on a hundred images."""
    model = {
        "latent_dim": 8,
        "encoder": {"kind": "mlp", "hidden": [256], "activation": "relu"},
        "likelihood": {"kind": "bernoulli", "binarization": "dynamic"},
        "condition": ["class"],
    }
    return run_config(model, {"beta": 1.0}, **({"epochs": 600, "batch_size": 50, "learning_rate": 1e-3} | training))


def generated(model: VAE, num: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images [N,1,28,28] and the classes they were asked for [N], as many of each."""
    label_N = torch.arange(num) % 10
    return generate(model, num, model.condition(label_N), seed=seed), label_N


ALONE, SAMPLES, SHIFTS, BOTH = "labels alone", "with samples", "with shifts", "with samples and shifts"
ROWS = (ALONE, SAMPLES, SHIFTS, BOTH)


def measure(home: Path, source: Dataset, seed: int, split: str = "test") -> Figures:
    """Trains a model and four classifiers on one hundred; the accuracy of each on a split."""
    images, label_N = labelled(source, seed)
    model = train(configuration(seed=seed), dataset_of(home / f"hundred-{seed}", images, label_N), last=True).model
    return compare(home, seed, model, images, label_N, *digits(source, split, 0, NUM_TEST))


def compare(
    home: Path,
    seed: int,
    model: VAE,
    images: NDArray[np.uint8],
    label_N: NDArray[np.int64],
    tests: NDArray[np.uint8],
    test_label_N: NDArray[np.int64],
) -> Figures:
    """The accuracy with and without samples, with and without shifts."""
    x, y = torch.from_numpy(images[:, None]).float() / 255, torch.from_numpy(label_N)
    more, more_y = generated(model, NUM_GENERATED, seed)
    test_x, test_y = torch.from_numpy(tests[:, None]).float() / 255, torch.from_numpy(test_label_N)
    # As many of the hundred as of the samples, so that a batch is half of each.
    repeats = NUM_GENERATED // len(x)
    mixed, mixed_y = torch.cat([x.repeat(repeats, 1, 1, 1), more]), torch.cat([y.repeat(repeats), more_y])
    figures = {}
    for row in ROWS:
        samples = row in (SAMPLES, BOTH)
        shift = 2 if row in (SHIFTS, BOTH) else 0
        judge = fit_judge(mixed if samples else x, mixed_y if samples else y, 10, steps=STEPS, seed=seed, shift=shift)
        figures[row] = (judged(judge, test_x) == test_y).float().mean().item()
    order = np.argsort(label_N, kind="stable")
    np.savez(home / f"augment-{seed}.npz", allow_pickle=False, real=x[order, 0].numpy(), more=more[:100, 0].numpy())
    return figures


def jobs(home: Path) -> list[Job]:
    """What is trained and measured."""
    source = mnist(home)
    return [Job("all", "MNIST, 100 labels", seed, partial(measure, home, source, seed)) for seed in SEEDS]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration()
    model, training = config.model, config.training
    return (
        f"{PER_CLASS} images of each class of MNIST's training split, others for each of {len(SEEDS)} seeds. The model "
        "sees these hundred alone, and no unlabelled image.",
        f"The model: {model.encoder.model_dump()} told the class, {model.latent_dim} latents, "
        f"{model.likelihood.model_dump()}, β={config.objective.beta:g}, batches of {training.batch_size}, "
        f"{training.epochs} epochs at {training.learning_rate:g}, the last weights: the hundred validate too, and nothing "
        "is chosen by that.",
        f"{NUM_GENERATED:,} samples, as many of each class: latents from the prior, the likelihood's mean. A batch of the "
        "classifier's is half real, half sampled.",
        f"The classifier has two convolutions and dropout, {STEPS} steps of Adam in batches of 64 with and without, "
        f"weights and batches of the same seed. Accuracy on the first {NUM_TEST:,} test images. Shifts: each batch moved "
        "by up to two pixels each way, as a yardstick.",
    )


SHORTFALLS: tuple[str, ...] = (
    "Neither the model's settings nor the classifier's were tuned: with a hundred labels there is nothing to tune on.",
    "What a hundred images hold the samples hold too: a model of them alone can add nothing but what lies between them.",
)


def differences(outcomes: Sequence[Outcome], better: str, worse: str) -> tuple[float, float, list[float]]:
    """Mean, standard error and each of the seeds' differences, in percent of accuracy."""
    found = [100 * (o.figures[better] - o.figures[worse]) for o in outcomes]
    return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found))), found


def render(outcomes: Sequence[Outcome]) -> str:
    """Accuracies, and differences by seed."""
    rows = [[row, summary([100 * o.figures[row] for o in outcomes], 1)] for row in ROWS]
    compared = []
    for better, worse in ((SAMPLES, ALONE), (BOTH, SHIFTS)):
        mean, error, each = differences(outcomes, better, worse)
        listed = ", ".join(f"{value:+.1f}" for value in each)
        compared.append([f"{better} − {worse}", f"{mean:+.2f} ± {error:.2f}", listed])
    first = grid(("the classifier learns from", "accuracy, %"), rows)
    second = grid(("difference by seed", "mean ± standard error, points", "each seed"), compared)
    return f"{first}\n\n{second}\n\n![Accuracies by seed, and samples of each class](../../../docs/augment.png)"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """The samples help, by more than two standard errors."""
    mean, error, _ = differences(outcomes, SAMPLES, ALONE)
    text = f"{SAMPLES} above {ALONE}, paired by seed"
    return [Claim(text, "by more than two standard errors", f"{mean:+.2f} ± {error:.2f} points", mean > 2 * error)]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Accuracies by seed on top, real digits and samples of each class below."""
    figure = blank(LIGHT, 5.2)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    axes = upper.subplots()
    dress(axes, LIGHT, "accuracy on the test split, %")
    for number, row in enumerate(ROWS):
        values = [100 * o.figures[row] for o in outcomes]
        height = [len(ROWS) - 1 - number] * len(values)
        axes.plot(values, height, MARKERS[number], color=COLOURS[number], markersize=5, alpha=0.8)
        axes.plot([np.mean(values)] * 2, [height[0] - 0.3, height[0] + 0.3], color=LIGHT.ink, linewidth=1.5)
    axes.set_yticks(range(len(ROWS)), ROWS[::-1], color=LIGHT.ink, fontsize=SMALL_SIZE)
    axes.set_ylim(-0.6, len(ROWS) - 0.4)
    with np.load(home / f"augment-{SEEDS[0]}.npz") as kept:
        real, more = kept["real"].reshape(10, PER_CLASS, 28, 28), kept["more"].reshape(10, 10, 28, 28)
    lower.suptitle("ten digits that were seen (left column of each pair: one), samples", fontsize=FONT_SIZE)
    lower.suptitle("top three rows: of the hundred images; below: samples", fontsize=FONT_SIZE, color=LIGHT.ink)
    lines = lower.subplots(6, 10)
    for row, line in enumerate(lines):
        for label, one in enumerate(line):
            show(one, real[label, row] if row < 3 else more[row, label])
    return figure
