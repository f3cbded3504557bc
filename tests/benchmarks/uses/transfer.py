"""Digits in another style: a model told the style encodes in one and decodes in another, without ever seeing a pair.

Shapes: N images, K styles; images are [N,3,28,28].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import grey_dilation
from torch import Tensor

from pipelines.report.theme import blank
from tests.benchmarks.reproduce.page import grid
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.work import digits, fit_judge, judged, mnist, run_config, show
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.manifest import Column
from vae.data.parquet import Dataset
from vae.inference.styles import transfer
from vae.model import VAE, Inputs

TITLE: str = "Style transfer: digits between four styles, never seen in pairs"
STYLES = ("plain", "inverted", "thick", "gradient")
NUM_TRAIN, NUM_VALIDATION, NUM_JUDGED, NUM_TEST = 30_000, 2_000, 20_000, 1_000
"""Images that the model sees, that validate it, that the classifiers see, and that are transferred."""
LEGEND: str = f"Shares of {NUM_TEST:,} outputs. On the diagonal the target is the image's own style."
TOP, BOTTOM = np.array([1.0, 0.65, 0.1], np.float32), np.array([0.25, 0.45, 1.0], np.float32)
"""Colours of the gradient, RGB."""
NUM_KEPT = 80
"""Digits that are left for the picture, which shows eight that differ."""
CAPACITY, CAPACITY_START, CAPACITY_STEPS = 50.0, 1_500, 6_000
"""Of the rate in the end, in nats; the steps at which it begins to rise, and at which it is reached."""
STYLE_TARGET, DIGIT_TARGET = 0.95, 0.92


def styled(grey_NHW: NDArray[np.uint8], style_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Grey digits, each in its style, [N,3,28,28]."""
    images = np.repeat(grey_NHW[:, None], 3, axis=1)
    thick = grey_dilation(grey_NHW, size=(1, 3, 3))
    down = np.linspace(0, 1, 28, dtype=np.float32)[None, :]
    colour_CH = TOP[:, None] * (1 - down) + BOTTOM[:, None] * down
    images = np.where((style_N == 1)[:, None, None, None], 255 - images, images)
    images = np.where((style_N == 2)[:, None, None, None], thick[:, None], images)
    tinted = np.rint(images * colour_CH[None, :, :, None]).astype(np.uint8)
    return np.where((style_N == 3)[:, None, None, None], tinted, images)


def dataset_of(home: Path, source: Dataset) -> Dataset:
    """Digits without their labels, each in one style drawn at random, which is an attribute."""
    train_NHW, _ = digits(source, "train", 0, NUM_TRAIN)
    validation_NHW, _ = digits(source, "validation", 0, NUM_VALIDATION)
    grey_NHW = np.concatenate([train_NHW, validation_NHW])
    style_N = np.random.default_rng(0).integers(len(STYLES), size=len(grey_NHW))
    column = Column(name="style", kind="categorical", dtype="string", categories=STYLES)
    return _publish(
        home / "styles",
        styled(grey_NHW, style_N),
        None,
        {"train": NUM_TRAIN, "validation": NUM_VALIDATION},
        group_rows=1000,
        attributes=(column,),
        attribute_values=style_N[:, None].astype(np.float32),
    )


def configuration(**training: object) -> RunConfig:
    """The run.

    The capacity begins at nothing: at first the style's name is all that the decoder has, and what opens then is shared by
    the styles. At β=1 from the start an inverted digit keeps a code of its own, and does not stay the same digit.
    """
    model = {
        "latent_dim": 16,
        "encoder": {"kind": "conv", "channels": [16, 32], "hidden": 256, "activation": "relu"},
        "likelihood": {"kind": "gaussian", "sigma": "fixed", "initial_sigma": 0.15},
        "condition": ["style"],
        "condition_by": "channel_film",
    }
    controller = {"kind": "capacity", "capacity": CAPACITY, "start": CAPACITY_START, "steps": CAPACITY_STEPS}
    chosen = {"epochs": 20, "batch_size": 64, "learning_rate": 4e-3, "learning_rate_schedule": "cosine"}
    return run_config(model, {"beta": 5.0, "controller": controller}, **(chosen | training))


def tensor(images: NDArray[np.uint8]) -> Tensor:
    """Pixels in [0, 1]."""
    return torch.from_numpy(images).float() / 255


def one_hot(style_N: NDArray[np.int64]) -> Tensor:
    """The condition [N,K]."""
    return torch.from_numpy(np.eye(len(STYLES), dtype=np.float32)[style_N])


def judges(source: Dataset) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Classifiers of style and of digit, of real images that the model never saw."""
    grey_NHW, label_N = digits(source, "train", NUM_TRAIN, NUM_TRAIN + NUM_JUDGED)
    style_N = np.random.default_rng(1).integers(len(STYLES), size=len(grey_NHW))
    x = tensor(styled(grey_NHW, style_N))
    style = fit_judge(x, torch.from_numpy(style_N), len(STYLES), steps=200, seed=1)
    return style, fit_judge(x, torch.from_numpy(label_N), 10, steps=1200, seed=2)


def measure(home: Path, source: Dataset, dataset: Dataset, seed: int, split: str = "test") -> Figures:
    """Trains, transfers images of a split from every style to every other, and asks the classifiers."""
    model = train(configuration(seed=seed), dataset, last=True).model
    style_judge, digit_judge = judges(source)
    return compare(home, model, style_judge, digit_judge, *digits(source, split, 0, NUM_TEST))


def compare(
    home: Path,
    model: VAE,
    style_judge: torch.nn.Module,
    digit_judge: torch.nn.Module,
    grey_NHW: NDArray[np.uint8],
    label_N: NDArray[np.int64],
) -> Figures:
    """The share of outputs with the target's style and the original's digit."""
    label, figures, shown = torch.from_numpy(label_N), {}, {}
    for source, name in enumerate(STYLES):
        source_N = np.full(len(grey_NHW), source)
        x = tensor(styled(grey_NHW, source_N))
        figures[f"real style, {name}"] = _share(judged(style_judge, x) == source)
        figures[f"real digit, {name}"] = _share(judged(digit_judge, x) == label)
        for target, other in enumerate(STYLES):
            condition = one_hot(np.full(len(x), target))
            out = transfer(model, Inputs(x, condition=one_hot(source_N)), condition).clip(0, 1)
            shown[f"{name}-{other}"] = out[:NUM_KEPT].numpy()
            figures[f"style, {name} to {other}"] = _share(judged(style_judge, out) == target)
            figures[f"digit, {name} to {other}"] = _share(judged(digit_judge, out) == label)
        shown[name] = x[:NUM_KEPT].numpy()
    np.savez(home / "transfer.npz", allow_pickle=False, labels=label_N[:NUM_KEPT], **shown)
    return figures


def _share(right_N: Tensor) -> float:
    return right_N.float().mean().item()


def jobs(home: Path) -> list[Job]:
    """What is trained and measured."""
    source = mnist(home)
    dataset = dataset_of(home, source)
    return [Job("conditional VAE", "MNIST in four styles", 0, partial(measure, home, source, dataset, 0))]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration()
    model, training = config.model, config.training
    return (
        f"The model sees {NUM_TRAIN:,} digits of MNIST's training split, each in one style that is drawn at random, with "
        "the style's name and without the digit's. Styles: plain (white on black), inverted (black on white), thick (the "
        "maximum over 3 × 3 pixels), gradient (orange at the top to blue at the bottom).",
        f"{model.encoder.model_dump()}, told the style by {model.condition_by}; {model.latent_dim} latents, "
        f"{model.likelihood.model_dump()}, a rate held at a capacity that rises from 0 to {CAPACITY:g} nats "
        f"from step {CAPACITY_START:,} to {CAPACITY_STEPS:,} (weight {config.objective.beta:g}), batches of "
        f"{training.batch_size}, {training.epochs} epochs at a rate of {training.learning_rate:g} that falls to 0, the "
        "last weights.",
        f"The first {NUM_TEST:,} test images, in every style, are encoded with their own style; the posterior's mean is "
        "decoded with the target's.",
        f"Two classifiers (two convolutions each) judge the outputs. They learned from {NUM_JUDGED:,} other digits in "
        "random styles, style and digit apart, and never saw an output of the model.",
    )


SHORTFALLS: tuple[str, ...] = (
    "One seed. The styles share a latent only because one network reads and writes all of them: with channels of 24 and 48 "
    "for 16 epochs inverted digits had a code of their own, and of the test digits that went to or from them 2 to 4 % "
    "stayed the same (this was measured on the test split, before the setting of this page was chosen).",
    "The setting was found on 500 validation digits, by what did not do: a condition beside the latent (42 % of outputs in "
    "the target's style, 53 % the same digit), FiLM of every layer (31 to 61 % in its style), channel FiLM that begins at "
    "nothing (56 % and 70 %: all styles but the inverted one), β=1 in place of the capacity (93 % and 65 %), a capacity "
    "that rises from the first step (97 % and 70 %). With 40 nats and 16 epochs it was 98 % and 91 %.",
)


def pairs() -> list[tuple[str, str]]:
    """Every style to every other."""
    return [(source, target) for source in STYLES for target in STYLES if source != target]


def render(outcomes: Sequence[Outcome]) -> str:
    """Style and digit of the outputs, source by target."""
    figures = outcomes[0].figures
    parts = []
    for what, words in (("style", "the target's style"), ("digit", "the original's digit")):
        rows = [
            [
                f"from {source}",
                *(f"{100 * figures[f'{what}, {source} to {target}']:.1f} %" for target in STYLES),
                f"{100 * figures[f'real {what}, {source}']:.1f} %",
            ]
            for source in STYLES
        ]
        header = (f"outputs with {words}", *(f"to {target}" for target in STYLES), "the images themselves")
        parts.append(grid(header, rows))
    parts.append("![Digits in four styles](../../../docs/transfer.png)")
    return "\n\n".join(parts)


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Over all pairs of different styles."""
    figures, found = outcomes[0].figures, []
    for what, words, target in (("style", "target style", STYLE_TARGET), ("digit", "original digit", DIGIT_TARGET)):
        values = [figures[f"{what}, {source} to {other}"] for source, other in pairs()]
        share = float(np.mean(values))
        text = f"outputs classified as the {words}, over all {len(values)} pairs"
        found.append(
            Claim(
                text,
                f"at least {100 * target:.0f} %",
                f"{100 * share:.1f} % (least of a pair {100 * min(values):.1f} %)",
                share >= target,
            )
        )
    return found


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Two digits of each source style, as they are given, and in every style."""
    figure = blank(2.2)
    with np.load(home / "transfer.npz") as kept:
        labels = kept["labels"]
        # A digit in each pair of rows, no two alike.
        chosen = [int(np.flatnonzero(labels == label)[0]) for label in dict.fromkeys(labels.tolist())][
            : 2 * len(STYLES)
        ]
        axes = figure.subplots(4, 2 * (1 + len(STYLES)) + 1, width_ratios=[1] * 5 + [0.4] + [1] * 5)
        for row, name in enumerate(STYLES):
            axes[row, 5].set_axis_off()
            for half in range(2):
                number = chosen[2 * row + half]
                images = [kept[name][number], *(kept[f"{name}-{target}"][number] for target in STYLES)]
                words = ["given", *STYLES] if row == 0 else [""] * 5
                for column, (image, title) in enumerate(zip(images, words, strict=True)):
                    left = name if column == 0 and half == 0 else ""
                    show(axes[row, 6 * half + column], image.transpose(1, 2, 0), title, left)
                    axes[row, 6 * half + column].title.set_fontsize(6)
    return figure
