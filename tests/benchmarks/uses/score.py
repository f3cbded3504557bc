"""How likely a model takes an image to be: digits that it never saw, and where likelihood fails.

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
from scipy.ndimage import grey_erosion
from sklearn.metrics import roc_auc_score

from pipelines.report.theme import COLOURS, INK, MUTED, SMALL_SIZE, blank, dress
from tests.benchmarks.reproduce.page import grid, summary
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.work import SEEDS_LEGEND, digits, mnist, run_config, show
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.inference.coding import score
from vae.model import VAE

TITLE: str = "Scoring images: what the likelihood tells apart, and what it does not"
LEGEND: str = f"{SEEDS_LEGEND} An AUROC of 0.5 is chance; below it the odd images are the likelier ones."
SEEDS = (0, 1)
UNSEEN = 9
NUM_EACH, NUM_SAMPLES = 400, 50
"""Images of each kind, and draws for the likelihood of each."""
KINDS = ("digit 9", "inverted", "noise", "half contrast", "thin", "black")


def known(images: NDArray[np.uint8], label_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Those of the classes that the model sees."""
    return images[label_N != UNSEEN]


def dataset_of(home: Path, source: Dataset) -> Dataset:
    """Digits 0 to 8."""
    train_images = known(*digits(source, "train", 0, source.num_rows("train")))
    validation = known(*digits(source, "validation", 0, 2_000))
    splits = {"train": len(train_images), "validation": len(validation)}
    return _publish(home / "known", np.concatenate([train_images, validation])[:, None], None, splits, 1000)


def configuration(**training: object) -> RunConfig:
    """The run."""
    model = {
        "latent_dim": 32,
        "encoder": {"kind": "mlp", "hidden": [384], "activation": "relu"},
        "likelihood": {"kind": "bernoulli", "binarization": "dynamic"},
    }
    return run_config(model, {}, **({"epochs": 8, "batch_size": 256, "learning_rate": 2e-3} | training))


def kinds(source: Dataset, split: str) -> dict[str, NDArray[np.uint8]]:
    """Images of a split that the model knows, and of each kind that it does not, [N,28,28]."""
    images, label_N = digits(source, split, 0, source.num_rows(split))
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


def measure(home: Path, source: Dataset, dataset: Dataset, seed: int, split: str = "test") -> Figures:
    """Trains, and scores every kind."""
    model = train(configuration(seed=seed), dataset, last=True).model
    return compare(home, seed, model, kinds(source, split))


def compare(home: Path, seed: int, model: VAE, images: dict[str, NDArray[np.uint8]]) -> Figures:
    """How well each kind is told from digits 0 to 8 by its log-likelihood, and by its distance from their median."""
    scores = {}
    for name, values in images.items():
        generator = torch.Generator().manual_seed(0)
        inputs = model.inputs(torch.from_numpy(values[:, None]), generator=generator)
        scores[name] = score(model, inputs, num_samples=NUM_SAMPLES, seed=0).numpy()
    usual, *_ = scores.values()
    figures = {"digits 0–8, nats": float(usual.mean())}
    # The median comes from one half of the known images, the other half is what is told apart.
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
    """What is trained and measured."""
    source = mnist(home)
    dataset = dataset_of(home, source)
    return [Job("VAE", "MNIST, 0–8", seed, partial(measure, home, source, dataset, seed)) for seed in SEEDS]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration()
    model, training = config.model, config.training
    return (
        "The model sees the digits 0 to 8 of MNIST's training split.",
        f"{model.encoder.model_dump()}, {model.latent_dim} latents, {model.likelihood.model_dump()}, β=1, batches of "
        f"{training.batch_size}, {training.epochs} epochs at {training.learning_rate:g}, the last weights.",
        f"log p(x) of {NUM_EACH} test images of each kind, pixels drawn to black and white once, by importance sampling "
        f"with {NUM_SAMPLES} draws of the posterior. The digits that are changed are others than those they are told from.",
        "AUROC of −log p(x), and of |log p(x) − median|, a typicality score; the median is of one half of the known "
        "digits, the other half is what is told apart.",
        "Kinds: digit 9, which the model never saw; inverted; noise, every grey level as likely; half contrast; thin (the "
        "minimum over 2 × 2 pixels); black.",
    )


SHORTFALLS: tuple[str, ...] = (
    "A likelihood is no test of belonging: deep models give images of other kinds more of it than those they learned "
    "from (Nalisnick, Matsukawa, Teh, Görür & Lakshminarayanan, Do Deep Generative Models Know What They Don't Know?, "
    "ICLR 2019, arXiv 1810.09136; there SVHN against CIFAR-10). Here it is what has less ink: a black image is likelier "
    "than every digit, and thin strokes are likelier than most.",
    "A 9 is made of strokes that 4 and 7 have, and this model finds it as likely as what it knows: neither the likelihood "
    "nor its distance from the median tells it. What tells classes apart has to know classes.",
    "The distance from the median finds what is too likely as well as what is too unlikely (Nalisnick et al. 2019, arXiv "
    "1906.02994, who test whole batches so); the black image is found, thin strokes are not.",
)


def render(outcomes: Sequence[Outcome]) -> str:
    """A row for each kind."""
    rows = [["digits 0–8", summary([o.figures["digits 0–8, nats"] for o in outcomes], 1), "", ""]]
    rows += [
        [
            name,
            summary([o.figures[f"{name}, nats"] for o in outcomes], 1),
            summary([o.figures[f"{name}, AUROC"] for o in outcomes], 3),
            summary([o.figures[f"{name}, AUROC of distance"] for o in outcomes], 3),
        ]
        for name in KINDS
    ]
    header = ("", "mean log p(x), nats", "AUROC of −log p(x)", "AUROC of the distance from the median")
    return f"{grid(header, rows)}\n\n![Distributions of log p(x), by kind](../../../docs/score.png)"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """What likelihood tells apart, and what it takes for likelier than digits."""
    reached = {name: float(np.mean([o.figures[f"{name}, AUROC"] for o in outcomes])) for name in KINDS}
    above = [("inverted", 0.99), ("noise", 0.99), (f"digit {UNSEEN}", 0.5)]
    found = [
        Claim(
            f"{name} told from digits 0 to 8 by −log p(x)",
            f"AUROC above {least:g}",
            f"{reached[name]:.3f}",
            reached[name] > least,
        )
        for name, least in above
    ]
    text = "the known failure: black images pass for likelier than digits"
    return [*found, Claim(text, "AUROC below 0.5", f"{reached['black']:.3f}", reached["black"] < 0.5)]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """The spread of log p(x) of each kind beside one of its images."""
    names = ("digits 0–8", *KINDS)
    figure = blank(4.6)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 4.6])
    with np.load(home / f"score-{SEEDS[0]}.npz") as kept:
        scores = [kept[f"score {name}"] for name in names]
        pictures = [kept[f"image {name}"][0] / 255 for name in names]
    for one, image in zip(left.subplots(len(names), 1), pictures, strict=True):
        show(one, image)
    axes = right.subplots()
    dress(axes, "−log p(x) in nats, 5 % to 95 %")
    axes.set_xscale("log")
    places = range(len(names) - 1, -1, -1)
    for place, values, colour in zip(places, scores, (COLOURS[0], *[COLOURS[1]] * len(KINDS)), strict=True):
        low, middle, high = np.percentile(-values, [5, 50, 95])
        axes.plot([low, high], [place] * 2, color=colour, linewidth=5, alpha=0.5, solid_capstyle="butt")
        axes.plot(middle, place, "o", color=colour, markersize=6)
    axes.set_yticks(list(places), names, color=INK, fontsize=SMALL_SIZE)
    axes.axvline(-np.median(scores[0]), color=MUTED, linewidth=0.8, linestyle="--")
    return figure
