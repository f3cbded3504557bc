"""Digits drawn by class: from the prior, from a narrowed prior, and from a mixture fitted to the codes of real digits.

Shapes: N images, K classes, F features, L latent; images are [N,1,28,28] in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.report.theme import LIGHT, SMALL_SIZE
from tests.benchmarks.evidence import interval_claim
from tests.benchmarks.page import Claim, grid
from tests.benchmarks.uses.work import (
    digits,
    fit_judge,
    judged,
    mean_of,
    mnist,
    mosaic,
    pixels,
    plain_run,
    seeded,
    show,
    summaries,
)
from tests.benchmarks.work import Figures, Job, Outcome, train
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.inference.coding import generate
from vae.metrics.features import FeatureNet, train_feature_net
from vae.metrics.generation import frechet_distance, precision_recall

SEEDS = (0, 1)
NUM_JUDGED, NUM_TEST = 50_000, 5_000
"""Images that train the classifier and the features; test images and samples that are compared."""
PRIOR, NARROW, AGGREGATE, REAL = "prior", "prior, temperature 0.7", "aggregate mixture", "real digits"
SAMPLERS: dict[str, dict[str, Any]] = {
    PRIOR: {"temperature": 1.0},
    NARROW: {"temperature": 0.7},
    AGGREGATE: {"sampler": "aggregate"},
}
COLUMNS = 5
"""Samples of each class in the picture."""
ASKED_TARGET = 0.9
BETA = 3.0
"""Weight of the rate; large enough that the latent does not repeat the class."""


def configuration(**training: Any) -> RunConfig:
    """Returns the run of a model conditioned on the class."""
    return plain_run(8, beta=BETA, condition=["class"], **({"epochs": 10, "aggregate_components": 20} | training))


def measure(home: Path, source: Dataset, seed: int) -> Figures:
    """Trains, draws samples, and compares them with real digits by a classifier and a feature net of real digits."""
    model = train(configuration(seed=seed), source, last=True, latents=True).model
    images, class_N = digits(source, "train", 0, NUM_JUDGED)
    x, y = pixels(images), torch.from_numpy(class_N)
    judge, net = fit_judge(x, y, 10, steps=1200, seed=1), train_feature_net(x, y, seed=1)
    images, class_N = digits(source, "test", 0, 2 * NUM_TEST)
    x, y = pixels(images), torch.from_numpy(class_N)
    real_NF = net.features(x[:NUM_TEST])  # samples and the other half of the test digits are compared with these
    figures, shown = _scores(real_NF, judge, net, x[NUM_TEST:], y[NUM_TEST:], REAL), {}
    label_N = torch.arange(NUM_TEST) % 10
    condition = model.condition(label_N)
    for name, options in SAMPLERS.items():
        drawn, again, other = (generate(model, NUM_TEST, condition, seed=s, **options) for s in (0, 0, 1))
        figures |= _scores(real_NF, judge, net, drawn, label_N, name)
        figures[f"{name}, same bytes"] = float(again.numpy().tobytes() == drawn.numpy().tobytes())
        figures[f"{name}, other seed differs"] = float((other != drawn).flatten(1).any(1).all())
        shown[name] = drawn[: 10 * COLUMNS, 0].reshape(COLUMNS, 10, 28, 28).transpose(0, 1).numpy()
    np.savez(home / f"generate-{seed}.npz", allow_pickle=False, **shown)
    return figures


def _scores(
    real_NF: NDArray[np.float64], judge: nn.Module, net: FeatureNet, x: Tensor, label_N: Tensor, name: str
) -> dict[str, float]:
    right_N = (judged(judge, x) == label_N).float()
    features_NF = net.features(x)
    manifold = precision_recall(real_NF, features_NF)
    return {
        f"{name}, asked": right_N.mean().item(),
        f"{name}, worst class": min(right_N[label_N == label].mean().item() for label in range(10)),
        f"{name}, distance": frechet_distance(real_NF, features_NF),
        f"{name}, precision": manifold.precision,
        f"{name}, recall": manifold.recall,
    }


def jobs(home: Path) -> list[Job]:
    """Returns the trainings."""
    return seeded("conditional VAE", "MNIST", SEEDS, measure, home, mnist(home))


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns a row for each sampler, and one of real digits."""
    columns = {"asked": 3, "worst class": 3, "distance": 1, "precision": 3, "recall": 3}
    rows = [summaries(outcomes, name, columns) for name in (*SAMPLERS, REAL)]
    header = ("", "of the class asked for", "worst class", "Fréchet distance", "precision", "recall")
    return f"{grid(header, rows)}\n\n![Samples of each class from three samplers](../../../docs/generate.png)"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims on the class asked for, on temperature and mixture, and on what a seed fixes."""

    def gain(sampler: str, what: str) -> list[float]:
        return [o.figures[f"{sampler}, {what}"] - o.figures[f"{PRIOR}, {what}"] for o in outcomes]

    asked = mean_of(outcomes, f"{PRIOR}, asked")
    least, reached = f"at least {100 * ASKED_TARGET:.0f} %", f"{100 * asked:.1f} %"
    surer = "temperature 0.7 gives more of the class asked for: difference of shares"
    narrower = "temperature 0.7 covers less: difference in recall"
    nearer = "the mixture is nearer to real digits than the prior: difference in Fréchet distance"
    same = "one seed gives the same bytes twice, and another gives other samples, for every sampler and model"
    runs = [f"{name}, {what}" for name in SAMPLERS for what in ("same bytes", "other seed differs")]
    return [
        Claim("samples of the prior classified as the class asked for", least, reached, asked >= ASKED_TARGET),
        interval_claim(surer, gain(NARROW, "asked"), "above", decimals=3),
        interval_claim(narrower, gain(NARROW, "recall"), "below", decimals=3),
        interval_claim(nearer, gain(AGGREGATE, "distance"), "below", decimals=1),
        Claim.of_all(same, sum(o.figures[run] for o in outcomes for run in runs), len(runs) * len(outcomes)),
    ]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws a row for each class with five samples of each sampler."""
    figure = LIGHT.figure(3.1)
    axes = figure.subplots(1, len(SAMPLERS))
    words = {PRIOR: "prior,\ntemperature 1", NARROW: "prior,\ntemperature 0.7", AGGREGATE: "aggregate\nmixture"}
    with np.load(home / f"generate-{SEEDS[0]}.npz") as kept:
        for one, name in zip(axes, SAMPLERS, strict=True):
            share = mean_of(outcomes, f"{name}, asked")
            show(one, mosaic(kept[name]), f"{words[name]}\n{100 * share:.1f} % as asked")
            one.spines[:].set_visible(False)
    places = [29 * label + 14 for label in range(10)]
    axes[0].set_yticks(places, list(map(str, range(10))), color=LIGHT.ink, fontsize=SMALL_SIZE)
    axes[0].tick_params(length=0)
    return figure
