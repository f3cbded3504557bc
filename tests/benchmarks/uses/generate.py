"""Digits drawn by class: from the prior, from a narrowed prior, and from a mixture fitted to the codes of real digits.

Shapes: N images, K classes, F features, L latent; images are [N,1,28,28] in [0, 1].
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
from torch import Tensor, nn

from pipelines.report.theme import INK, SMALL_SIZE, blank
from tests.benchmarks.reproduce.evidence import Interval, interval
from tests.benchmarks.reproduce.page import grid, summary
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.work import SEEDS_LEGEND, digits, fit_judge, judged, mnist, mosaic, plain_run, show
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.inference.coding import generate
from vae.metrics.features import FeatureNet, train_feature_net
from vae.metrics.generation import frechet_distance, precision_recall
from vae.model import VAE

TITLE: str = "Generating MNIST by class"
LEGEND: str = f"{SEEDS_LEGEND} Fréchet distances compare within this table alone."
SEEDS = (0, 1)
NUM_JUDGED, NUM_TEST = 50_000, 5_000
"""Images that the classifier and the features learn from; real test images, and samples, that are compared."""
PRIOR, NARROW, AGGREGATE, REAL = "prior", "prior, temperature 0.7", "aggregate mixture", "real digits"
SAMPLERS: dict[str, dict[str, Any]] = {
    PRIOR: {"temperature": 1.0},
    NARROW: {"temperature": 0.7},
    AGGREGATE: {"sampler": "aggregate"},
}
COLUMNS = 5
"""Samples of a class in the picture."""
ASKED_TARGET = 0.9
BETA = 3.0
"""So that the latent leaves to the class what the class says."""


def configuration(**training: Any) -> RunConfig:
    """The run of a model that is told the class."""
    return plain_run(8, beta=BETA, condition=["class"], **({"epochs": 10, "aggregate_components": 20} | training))


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """In [0, 1], [N,1,28,28]."""
    return torch.from_numpy(images[:, None]).float() / 255


def measure(home: Path, source: Dataset, seed: int, split: str = "test") -> Figures:
    """Trains, draws, and asks a classifier and a feature net that learned from real digits."""
    model = train(configuration(seed=seed), source, last=True, latents=True).model
    images, label_N = digits(source, "train", 0, NUM_JUDGED)
    x, y = pixels(images), torch.from_numpy(label_N)
    judge = fit_judge(x, y, 10, steps=1200, seed=1)
    net = train_feature_net(x, y, seed=1)
    real, real_label_N = digits(source, split, 0, 2 * NUM_TEST)
    return compare(home, seed, model, judge, net, pixels(real), torch.from_numpy(real_label_N))


def compare(home: Path, seed: int, model: VAE, judge: nn.Module, net: FeatureNet, x: Tensor, y: Tensor) -> Figures:
    """How many samples pass for the class that was asked for, and how they lie among real digits.

    Args:
        x: Real images of 2 · NUM_TEST: samples are compared with the first half, and so is the second half.
        y: Their classes.
    """
    label_N = torch.arange(NUM_TEST) % 10
    condition = model.condition(label_N)
    known_NF, shown = net.features(x[:NUM_TEST]), {}
    figures: dict[str, float] = _scores(known_NF, judge, net, x[NUM_TEST:], y[NUM_TEST:], REAL)
    for name, options in SAMPLERS.items():
        drawn = generate(model, NUM_TEST, condition, seed=0, **options)
        figures |= _scores(known_NF, judge, net, drawn, label_N, name)
        again, other = (generate(model, NUM_TEST, condition, seed=s, **options) for s in (0, 1))
        figures[f"{name}, same bytes"] = float(again.numpy().tobytes() == drawn.numpy().tobytes())
        figures[f"{name}, other seed differs"] = float((other != drawn).flatten(1).any(1).all())
        shown[name] = drawn[: 10 * COLUMNS, 0].reshape(COLUMNS, 10, 28, 28).transpose(0, 1).numpy()
    np.savez(home / f"generate-{seed}.npz", allow_pickle=False, **shown)
    return figures


def _scores(
    known_NF: NDArray[np.float64], judge: nn.Module, net: FeatureNet, x: Tensor, label_N: Tensor, name: str
) -> dict[str, float]:
    right_N = (judged(judge, x) == label_N).float()
    features_NF = net.features(x)
    manifold = precision_recall(known_NF, features_NF)
    return {
        f"{name}, asked": right_N.mean().item(),
        f"{name}, worst class": min(right_N[label_N == label].mean().item() for label in range(10)),
        f"{name}, distance": frechet_distance(known_NF, features_NF),
        f"{name}, precision": manifold.precision,
        f"{name}, recall": manifold.recall,
    }


def jobs(home: Path) -> list[Job]:
    """What is trained and measured."""
    source = mnist(home)
    return [Job("conditional VAE", "MNIST", seed, partial(measure, home, source, seed)) for seed in SEEDS]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration()
    model, training = config.model, config.training
    return (
        f"A model told the class, of MNIST's training split: {model.encoder.model_dump()}, {model.latent_dim} latents, "
        f"{model.likelihood.model_dump()}, β={BETA:g}, batches of {training.batch_size}, {training.epochs} epochs at "
        f"{training.learning_rate:g} falling by a cosine, the last weights.",
        f"{NUM_TEST:,} samples, as many of each class, the likelihood's mean: latents from the prior N(0, I), from the "
        f"prior at a temperature of 0.7, and from the mixture of {training.aggregate_components} Gaussians that betaline "
        "fits to the latents of the training digits of all classes together.",
        f"Asked: the share of samples that a convolutional classifier of {NUM_JUDGED:,} real digits takes for the class "
        "that was asked for; the worst class beside it.",
        f"Squared Fréchet distance, precision and recall (k = 3) against {NUM_TEST:,} test digits in the 64 features of a "
        f"classifier of its own (`vae.metrics.features`). Real digits: the {NUM_TEST:,} other test digits, as a yardstick.",
        f"Same bytes: all {NUM_TEST:,} samples are drawn twice with one seed, and once with another.",
    )


SHORTFALLS: tuple[str, ...] = (
    "Samples are the likelihood's mean, and β=3 makes them smooth and alike: a recall near a quarter, where real digits "
    "have 0.89, says that they leave out most of what digits vary in, and the Fréchet distance is far from that of real "
    "digits. With β=1 and 16 latents the recall of the prior was 0.71, of digits of the wrong class as well.",
    "At β=1 the latents keep some of the class, and disagree with the class that is asked for: with 16 of them 66 % of the "
    "samples were as asked (one seed, measured with the test split beside it), with 8 and 5 epochs 73 %, with β=2 and FiLM "
    "85 %, with β=4 97 %. The β of this page was chosen from these.",
)


def render(outcomes: Sequence[Outcome]) -> str:
    """A row for each sampler, and one of real digits."""
    columns = {"asked": 3, "worst class": 3, "distance": 1, "precision": 3, "recall": 3}
    rows = [
        [name, *(summary([o.figures[f"{name}, {what}"] for o in outcomes], digit) for what, digit in columns.items())]
        for name in (*SAMPLERS, REAL)
    ]
    header = ("", "of the class asked for", "worst class", "Fréchet distance", "precision", "recall")
    return f"{grid(header, rows)}\n\n![Samples of each class from three samplers](../../../docs/generate.png)"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """The class is the one asked for, a lower temperature does what it is for, and a seed says what is drawn."""

    def gain(sampler: str, what: str) -> Interval:
        return interval([o.figures[f"{sampler}, {what}"] - o.figures[f"{PRIOR}, {what}"] for o in outcomes])

    asked = float(np.mean([o.figures[f"{PRIOR}, asked"] for o in outcomes]))
    surer, narrower, nearer = gain(NARROW, "asked"), gain(NARROW, "recall"), gain(AGGREGATE, "distance")
    runs = [f"{name}, {what}" for name in SAMPLERS for what in ("same bytes", "other seed differs")]
    same = sum(o.figures[run] for o in outcomes for run in runs)
    every = len(runs) * len(outcomes)
    return [
        Claim(
            "samples of the prior classified as the class asked for",
            f"at least {100 * ASKED_TARGET:.0f} %",
            f"{100 * asked:.1f} %",
            asked >= ASKED_TARGET,
        ),
        Claim(
            "temperature 0.7 gives more of the class asked for: difference of shares",
            "95 % interval above 0",
            surer.text(3, "+"),
            surer.above(0),
        ),
        Claim(
            "temperature 0.7 covers less: difference in recall",
            "95 % interval below 0",
            narrower.text(3, "+"),
            narrower.below(0),
        ),
        Claim(
            "the mixture is nearer to real digits than the prior: difference in Fréchet distance",
            "95 % interval below 0",
            nearer.text(1, "+"),
            nearer.below(0),
        ),
        Claim(
            "one seed gives the same bytes twice, and another gives other samples, for every sampler and model",
            f"{every} of {every}",
            f"{same:.0f} of {every}",
            same == every,
        ),
    ]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """A row for each class, five samples of each sampler."""
    figure = blank(3.1)
    axes = figure.subplots(1, len(SAMPLERS))
    words = {PRIOR: "prior,\ntemperature 1", NARROW: "prior,\ntemperature 0.7", AGGREGATE: "aggregate\nmixture"}
    with np.load(home / f"generate-{SEEDS[0]}.npz") as kept:
        for one, name in zip(axes, SAMPLERS, strict=True):
            share = float(np.mean([o.figures[f"{name}, asked"] for o in outcomes]))
            show(one, mosaic(kept[name]), f"{words[name]}\n{100 * share:.1f} % as asked")
            one.spines[:].set_visible(False)
    places = [29 * label + 14 for label in range(10)]
    axes[0].set_yticks(places, list(map(str, range(10))), color=INK, fontsize=SMALL_SIZE)
    axes[0].tick_params(length=0)
    return figure
