"""Likelihood of images: digits that the model never saw, and where the likelihood fails.

Shapes: N images; images are [N,1,28,28].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import grey_erosion
from sklearn.metrics import roc_auc_score

from pipelines.report.theme import COLOURS, LIGHT, SMALL_SIZE
from tests.benchmarks.page import Claim, figures_of, grid, summary
from tests.benchmarks.uses.work import digits, mean_of, mnist, plain_run, seeded, show, summaries
from tests.benchmarks.work import Figures, Job, Outcome, train
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.inference.coding import score
from vae.seeds import Stream

SEEDS = (0, 1)
UNSEEN = 9
NUM_EACH, NUM_SAMPLES = 400, 50
"""Images of each kind, and posterior draws for the likelihood of each."""
KINDS = ("digit 9", "inverted", "noise", "half contrast", "thin", "black")


def known(images: NDArray[np.uint8], label_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Returns the images of the classes that the model sees."""
    return images[label_N != UNSEEN]


def dataset_of(home: Path, source: Dataset) -> Dataset:
    """Publishes the digits 0 to 8."""
    train_images = known(*digits(source, "train", 0, source.num_rows("train")))
    validation = known(*digits(source, "validation", 0, 2_000))
    splits = {"train": len(train_images), "validation": len(validation)}
    return _publish(home / "known", np.concatenate([train_images, validation])[:, None], None, splits, 1000)


def configuration(**training: object) -> RunConfig:
    """Returns the run."""
    chosen = {"epochs": 8, "batch_size": 256, "learning_rate_schedule": "constant"}
    return plain_run(32, hidden=384, **(chosen | training))


def kinds(source: Dataset) -> dict[str, NDArray[np.uint8]]:
    """Returns test images [N,28,28] of the classes that the model knows, and of each kind that it does not know."""
    images, label_N = digits(source, "test", 0, source.num_rows("test"))
    others = known(images, label_N)
    digit, changed = others[:NUM_EACH], others[NUM_EACH : 2 * NUM_EACH]
    return {
        "digits 0–8": digit,
        "digit 9": images[label_N == UNSEEN][:NUM_EACH],
        "inverted": 255 - changed,
        "noise": np.random.default_rng(0).integers(256, size=changed.shape).astype(np.uint8),
        "half contrast": changed // 2,
        "thin": grey_erosion(changed, size=(1, 2, 2)),
        "black": np.zeros_like(changed),
    }


def measure(home: Path, source: Dataset, dataset: Dataset, seed: int) -> Figures:
    """Trains, and returns the mean log-likelihood of each kind and how well it tells the kind from known digits."""
    model = train(configuration(seed=seed), dataset, last=True).model
    images, scores = kinds(source), {}
    for name, values in images.items():
        inputs = model.inputs(torch.from_numpy(values[:, None]), draws=RowDraws(0, Stream.EVALUATION))
        scores[name] = score(model, inputs, num_samples=NUM_SAMPLES, seed=0).numpy()
    usual, *_ = scores.values()
    figures = {"digits 0–8, nats": float(usual.mean())}
    # One half of the known images gives the median; the other half is compared with each kind.
    middle, rest = float(np.median(usual[::2])), usual[1::2]
    for name in KINDS:
        other = scores[name]
        truth = np.r_[np.zeros(len(rest)), np.ones(len(other))]
        figures[f"{name}, nats"] = float(other.mean())
        figures[f"{name}, AUROC"] = float(roc_auc_score(truth, -np.r_[rest, other]))
        figures[f"{name}, AUROC of distance"] = float(roc_auc_score(truth, abs(np.r_[rest, other] - middle)))
    shown = {f"image {name}": values[:1] for name, values in images.items()}
    np.savez(home / f"score-{seed}.npz", allow_pickle=False, **{f"score {k}": v for k, v in scores.items()}, **shown)
    return figures


def jobs(home: Path) -> list[Job]:
    """Returns the trainings."""
    source = mnist(home)
    return seeded("VAE", "MNIST, 0–8", SEEDS, measure, home, source, dataset_of(home, source))


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns a row for each kind."""
    columns = {"nats": 1, "AUROC": 3, "AUROC of distance": 3}
    rows = [["digits 0–8", summary(figures_of(outcomes, "digits 0–8, nats"), 1), "", ""]]
    rows += [summaries(outcomes, name, columns) for name in KINDS]
    header = ("", "mean log p(x), nats", "AUROC of −log p(x)", "AUROC of the distance from the median")
    return f"{grid(header, rows)}\n\n![Distributions of log p(x), by kind](../../../docs/score.png)"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims: kinds that the likelihood detects, and the kind that it takes for likelier than digits."""
    reached = {name: mean_of(outcomes, f"{name}, AUROC") for name in KINDS}
    out = []
    for name, least in (("inverted", 0.99), ("noise", 0.99), (f"digit {UNSEEN}", 0.5)):
        text = f"{name} told from digits 0 to 8 by −log p(x)"
        out.append(Claim(text, f"AUROC above {least:g}", f"{reached[name]:.3f}", reached[name] > least))
    text = "the known failure: black images pass for likelier than digits"
    return [*out, Claim(text, "AUROC below 0.5", f"{reached['black']:.3f}", reached["black"] < 0.5)]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws the spread of log p(x) of each kind beside one of its images."""
    names = ("digits 0–8", *KINDS)
    figure = LIGHT.figure(4.6)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 4.6])
    with np.load(home / f"score-{SEEDS[0]}.npz") as kept:
        scores = [kept[f"score {name}"] for name in names]
        pictures = [kept[f"image {name}"][0] / 255 for name in names]
    for one, image in zip(left.subplots(len(names), 1), pictures, strict=True):
        show(one, image)
    axes = right.subplots()
    LIGHT.dress(axes, "−log p(x) in nats, 5 % to 95 %")
    axes.set_xscale("log")
    places = range(len(names) - 1, -1, -1)
    for place, values, colour in zip(places, scores, (COLOURS[0], *[COLOURS[1]] * len(KINDS)), strict=True):
        low, middle, high = np.percentile(-values, [5, 50, 95])
        axes.plot([low, high], [place] * 2, color=colour, linewidth=5, alpha=0.5, solid_capstyle="butt")
        axes.plot(middle, place, "o", color=colour, markersize=6)
    axes.set_yticks(list(places), names, color=LIGHT.ink, fontsize=SMALL_SIZE)
    axes.axvline(-np.median(scores[0]), color=LIGHT.muted, linewidth=0.8, linestyle="--")
    return figure
