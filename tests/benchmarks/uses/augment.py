"""A hundred labelled digits among twenty thousand, and more of each class from models of them all.

Labels spread among neighbours in the latent of a model that knows none; a second model, told the class, learns from the
images whose labels are surest, and draws as many of each class as one likes.

Shapes: N images, L latent; images are [N,1,28,28].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from pipelines.report.theme import COLOURS, FONT_SIZE, INK, MARKERS, SMALL_SIZE, blank, dress
from tests.benchmarks.reproduce.evidence import interval
from tests.benchmarks.reproduce.page import grid, summary
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.work import SEEDS_LEGEND, digits, fit_judge, judged, mnist, run_config, show
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.inference.coding import encode, generate
from vae.model import VAE, Inputs

TITLE: str = "Augmenting a hundred labelled digits"
LEGEND: str = f"{SEEDS_LEGEND} A seed has its own hundred labels, models and classifiers."
SEEDS = (0, 1, 2, 3, 4)
PER_CLASS, NUM_IMAGES, NUM_TEST = 10, 20_000, 5_000
"""Labels of each class; images that the models see; images that the classifiers are measured on."""
NEIGHBOURS, SURE = 7, 0.7
"""Of the graph that labels spread on; the share of images, the surest, that keep their label."""
NUM_VALIDATION = 1_000
NUM_GENERATED = 10_000
STEPS = 300
"""Of each classifier, in batches of 64."""
ALONE, SAMPLES, SHIFTS, BOTH, SPREAD = (
    "labels alone",
    "with samples",
    "with shifts",
    "with samples and shifts",
    "with spread labels",
)
ROWS = (ALONE, SAMPLES, SHIFTS, BOTH, SPREAD)
Labelled = tuple[Tensor, Tensor]
"""Images in [0, 1] and their classes [N]."""


def choose_labelled(label_N: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The numbers of ten images of each class, others for each seed."""
    rng = np.random.default_rng(100 + seed)
    chosen = [rng.choice(np.flatnonzero(label_N == k), PER_CLASS, replace=False) for k in range(10)]
    return rng.permutation(np.concatenate(chosen))


def configuration(**changes: Any) -> RunConfig:
    """The run of either model."""
    model = {
        "latent_dim": 16,
        "encoder": {"kind": "mlp", "hidden": [512], "activation": "relu"},
        "likelihood": {"kind": "bernoulli", "binarization": "dynamic"},
    }
    training = {"epochs": 12, "batch_size": 128, "learning_rate": 2e-3, "ema_decay": 0.998}
    return run_config(model | changes.pop("model", {}), {"beta": 1.0}, **(training | changes))


def spread_labels(
    z_NL: NDArray[np.float32], chosen: NDArray[np.int64], label_K: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A label for every latent, and the numbers of those that are surest.

    References:
        Zhou et al., Learning with Local and Global Consistency (2004), as in scikit-learn.
    """
    known_N = np.full(len(z_NL), -1)
    known_N[chosen] = label_K
    spread = LabelSpreading("knn", n_neighbors=NEIGHBOURS, alpha=0.2).fit(z_NL, known_N)
    order = np.argsort(-spread.label_distributions_.max(1), kind="stable")
    return spread.transduction_, np.sort(order[: round(SURE * len(z_NL))])


def measure(home: Path, source: Dataset, seed: int, split: str = "test") -> Figures:
    """Trains two models, spreads labels between, and trains the classifiers; the accuracy of each on a split."""
    images, label_N = digits(source, "train", 0, NUM_IMAGES)
    chosen = choose_labelled(label_N, seed)
    unlabelled = subset(home / f"all-{seed}", images, None)
    model = train(configuration(seed=seed), unlabelled, last=True).model
    x = pixels(images)
    z_NL = torch.cat([encode(model, Inputs(part)).mean for part in x.split(2_000)]).numpy()
    spread_N, sure = spread_labels(z_NL, chosen, label_N[chosen])
    told = {"model": {"condition": ["class"]}}
    labelled = subset(home / f"sure-{seed}", images[sure], spread_N[sure])
    conditional = train(configuration(seed=seed, **told), labelled, last=True).model
    known = x[chosen], torch.from_numpy(label_N[chosen])
    found = compare(home, seed, conditional, known, (x[sure], torch.from_numpy(spread_N[sure])), source, split)
    right_N = spread_N == label_N
    return found | {"spread, right": float(right_N.mean()), "surest, right": float(right_N[sure].mean())}


def subset(folder: Path, images: NDArray[np.uint8], label_N: NDArray[np.int64] | None) -> Dataset:
    """Images as a dataset; the last thousand validate."""
    splits = {"train": len(images) - NUM_VALIDATION, "validation": NUM_VALIDATION}
    return _publish(folder, images[:, None], label_N, splits, group_rows=1000)


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """In [0, 1], [N,1,28,28]."""
    return torch.from_numpy(images[:, None]).float() / 255


def compare(
    home: Path, seed: int, model: VAE, known: Labelled, spread: Labelled, source: Dataset, split: str
) -> dict[str, float]:
    """The accuracy of a classifier of each row."""
    tests, test_label_N = digits(source, split, 0, NUM_TEST)
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
    """What is trained and measured."""
    source = mnist(home)
    return [Job("all", "MNIST, 100 labels", seed, partial(measure, home, source, seed)) for seed in SEEDS]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration()
    model, training = config.model, config.training
    return (
        f"{NUM_IMAGES:,} images of MNIST's training split, {PER_CLASS} of each class with their labels, others for each of "
        f"{len(SEEDS)} seeds.",
        f"A model of all the images without labels ({model.encoder.model_dump()}, {model.latent_dim} latents, "
        f"{model.likelihood.model_dump()}, {training.epochs} epochs). Labels spread over the {NEIGHBOURS} nearest "
        "neighbours among its posterior means (Zhou et al. 2004, scikit-learn's LabelSpreading, α=0.2); the surest "
        f"{SURE:.0%} of the images keep theirs.",
        f"The same model told the class learns from these, and draws {NUM_GENERATED:,} samples, as many of each class: "
        "latents from the prior, the likelihood's mean. A batch of the classifier's is half labelled images, half samples.",
        f"Every classifier has two convolutions and dropout, {STEPS} steps of Adam in batches of 64, weights and batches "
        f"of the same seed. Accuracy on the first {NUM_TEST:,} test images. Yardsticks: each batch moved by up to two "
        "pixels each way (shifts), and the surest images themselves in place of samples (spread labels).",
    )


SHORTFALLS: tuple[str, ...] = (
    "What the samples bring is what the unlabelled images hold, by way of the latent: the surest images themselves, where "
    "one may keep them, bring more.",
    "A model of the hundred labelled images alone did not help: three seeds lost 5 points on validation images (8 latents, "
    "one layer of 256, 600 epochs), since it can add nothing but what lies between those images.",
)


def differences(outcomes: Sequence[Outcome], better: str, worse: str) -> list[float]:
    """Returns the difference in accuracy of each seed, in points."""
    return [100 * (o.figures[better] - o.figures[worse]) for o in outcomes]


def render(outcomes: Sequence[Outcome]) -> str:
    """Accuracies, and differences by seed."""
    rows = [[row, summary([100 * o.figures[row] for o in outcomes], 1)] for row in ROWS]
    compared = []
    for better, worse in ((SAMPLES, ALONE), (BOTH, SHIFTS), (SAMPLES, SPREAD)):
        each = differences(outcomes, better, worse)
        listed = ", ".join(f"{value:+.1f}" for value in each)
        compared.append([f"{better} − {worse}", interval(each).text(2, "+"), listed])
    first = grid(("the classifier learns from", "accuracy, %"), rows)
    labels = [
        ["all images", summary([100 * o.figures["spread, right"] for o in outcomes], 1)],
        [f"the surest {SURE:.0%}", summary([100 * o.figures["surest, right"] for o in outcomes], 1)],
    ]
    third = grid(("labels that spread", "right, %"), labels)
    second = grid(("difference by seed", "mean (95 % interval), points", "each seed"), compared)
    return (
        f"{first}\n\n{second}\n\n{third}\n\n![Accuracies by seed, and samples of each class](../../../docs/augment.png)"
    )


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claim that the samples help, by the interval of the difference."""
    gain = interval(differences(outcomes, SAMPLES, ALONE))
    text = f"{SAMPLES} above {ALONE}, paired by seed"
    return [Claim(text, "95 % interval above 0", f"{gain.text(1, '+')} points", gain.above(0))]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Accuracies by seed on top, real digits and samples of each class below."""
    figure = blank(5.2)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    axes = upper.subplots()
    dress(axes, "accuracy on the test split, %")
    for number, row in enumerate(ROWS):
        values = [100 * o.figures[row] for o in outcomes]
        height = [len(ROWS) - 1 - number] * len(values)
        axes.plot(values, height, MARKERS[number], color=COLOURS[number], markersize=5, alpha=0.8)
        axes.plot([np.mean(values)] * 2, [height[0] - 0.3, height[0] + 0.3], color=INK, linewidth=1.5)
    axes.set_yticks(range(len(ROWS)), ROWS[::-1], color=INK, fontsize=SMALL_SIZE)
    axes.set_ylim(-0.6, len(ROWS) - 0.4)
    with np.load(home / f"augment-{SEEDS[0]}.npz") as kept:
        real, more = kept["real"].reshape(10, PER_CLASS, 28, 28), kept["more"].reshape(10, 10, 28, 28)
    lower.suptitle("ten digits that were seen (left column of each pair: one), samples", fontsize=FONT_SIZE)
    lower.suptitle("top three rows: of the hundred images; below: samples", fontsize=FONT_SIZE, color=INK)
    lines = lower.subplots(6, 10)
    for row, line in enumerate(lines):
        for label, one in enumerate(line):
            show(one, real[label, row] if row < 3 else more[row, label])
    return figure
