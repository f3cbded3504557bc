"""Style transfer of digits: a conditional model encodes in one style and decodes in another, and never saw a pair.

Shapes: N images, K styles; images are [N,3,28,28].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import grey_dilation
from torch import Tensor

from pipelines.report.theme import LIGHT
from tests.benchmarks.page import Claim, grid
from tests.benchmarks.uses.work import digits, fit_judge, judged, mnist, run_config, seeded, show
from tests.benchmarks.work import Figures, Job, Outcome, train
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.inference.changes import transfer
from vae.parts.terms import Inputs

STYLES = ("plain", "inverted", "thick", "gradient")
NUM_TRAIN, NUM_VALIDATION, NUM_JUDGED, NUM_TEST = 30_000, 2_000, 20_000, 1_000
"""Images that train the model, validate it, train the classifiers, and are transferred."""
TOP, BOTTOM = np.array([1.0, 0.65, 0.1], np.float32), np.array([0.25, 0.45, 1.0], np.float32)
"""RGB colours of the gradient."""
NUM_KEPT = 80
"""Digits saved for the picture, which shows eight different ones."""
CAPACITY, CAPACITY_START, CAPACITY_STEPS = 50.0, 1_500, 6_000
"""Final rate in nats; the steps at which it starts to rise and at which it is reached."""
STYLE_TARGET, DIGIT_TARGET = 0.95, 0.92


def styled(grey_NHW: NDArray[np.uint8], style_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Returns grey digits, each in its style, [N,3,28,28]."""
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
    column = Column("style", STYLES, dtype="string")
    values_N1 = style_N[:, None].astype(np.float32)
    splits = {"train": NUM_TRAIN, "validation": NUM_VALIDATION}
    images = styled(grey_NHW, style_N)
    return _publish(home / "styles", images, None, splits, 1000, attributes=(column,), attribute_values=values_N1)


def configuration(**training: object) -> RunConfig:
    """Returns the run.

    The capacity starts at 0, so the decoder first has the style's name alone, and the styles share the code that follows.
    At β=1 from the start inverted digits keep a code of their own, and do not stay the same digit.
    """
    model = {
        "latent_dim": 16,
        "encoder": {"kind": "conv", "channels": [16, 32], "hidden": 256, "activation": "relu"},
        "likelihood": {"kind": "gaussian", "sigma": "fixed", "initial_sigma": 0.15},
        "condition": ["style"],
        "condition_by": "channel_film",
    }
    controller = {"kind": "capacity", "capacity": CAPACITY, "start": CAPACITY_START, "steps": CAPACITY_STEPS}
    chosen = {"epochs": 20, "batch_size": 64, "learning_rate": 4e-3}
    return run_config(model, {"beta": 5.0, "controller": controller}, **(chosen | training))


def tensor(images: NDArray[np.uint8]) -> Tensor:
    """Returns pixels in [0, 1]."""
    return torch.from_numpy(images).float() / 255


def one_hot(style: int, count: int) -> Tensor:
    """Returns the condition of images of one style, [N,K]."""
    return torch.eye(len(STYLES))[style].expand(count, -1)


def judges(source: Dataset) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Returns classifiers of style and of digit, trained on real images that the model never saw."""
    grey_NHW, label_N = digits(source, "train", NUM_TRAIN, NUM_TRAIN + NUM_JUDGED)
    style_N = np.random.default_rng(1).integers(len(STYLES), size=len(grey_NHW))
    x = tensor(styled(grey_NHW, style_N))
    style = fit_judge(x, torch.from_numpy(style_N), len(STYLES), steps=200, seed=1)
    return style, fit_judge(x, torch.from_numpy(label_N), 10, steps=1200, seed=2)


def measure(home: Path, source: Dataset, dataset: Dataset, seed: int) -> Figures:
    """Trains; returns the share of outputs with the target's style, and with the original's digit, for every pair."""
    model = train(configuration(seed=seed), dataset, last=True).model
    style_judge, digit_judge = judges(source)
    grey_NHW, label_N = digits(source, "test", 0, NUM_TEST)
    label, figures, shown = torch.from_numpy(label_N), {}, {}
    for number, name in enumerate(STYLES):
        x = tensor(styled(grey_NHW, np.full(len(grey_NHW), number)))
        figures[f"real style, {name}"] = _share(judged(style_judge, x) == number)
        figures[f"real digit, {name}"] = _share(judged(digit_judge, x) == label)
        shown[name] = x[:NUM_KEPT].numpy()
        inputs = Inputs(x, condition=one_hot(number, len(x)))
        for target, other in enumerate(STYLES):
            out = transfer(model, inputs, one_hot(target, len(x))).clip(0, 1)
            shown[f"{name}-{other}"] = out[:NUM_KEPT].numpy()
            figures[f"style, {name} to {other}"] = _share(judged(style_judge, out) == target)
            figures[f"digit, {name} to {other}"] = _share(judged(digit_judge, out) == label)
    np.savez(home / "transfer.npz", allow_pickle=False, labels=label_N[:NUM_KEPT], **shown)
    return figures


def _share(right_N: Tensor) -> float:
    return right_N.float().mean().item()


def jobs(home: Path) -> list[Job]:
    """Returns the training."""
    source = mnist(home)
    return seeded("conditional VAE", "MNIST in four styles", (0,), measure, home, source, dataset_of(home, source))


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns a table of the outputs' styles and one of their digits, source by target."""
    figures = outcomes[0].figures
    parts = []
    for what, words in (("style", "the target's style"), ("digit", "the original's digit")):
        rows = []
        for source in STYLES:
            shares = [figures[f"{what}, {source} to {target}"] for target in STYLES]
            rows.append([f"from {source}", *map(_percent, [*shares, figures[f"real {what}, {source}"]])])
        header = (f"outputs with {words}", *(f"to {target}" for target in STYLES), "the images themselves")
        parts.append(grid(header, rows))
    return "\n\n".join([*parts, "![Digits in four styles](../../../docs/transfer.png)"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims on style and digit over all pairs of different styles."""
    out, pairs = [], list(permutations(STYLES, 2))
    for what, words, target in (("style", "target style", STYLE_TARGET), ("digit", "original digit", DIGIT_TARGET)):
        shares = [outcomes[0].figures[f"{what}, {source} to {other}"] for source, other in pairs]
        share = float(np.mean(shares))
        text = f"outputs classified as the {words}, over all {len(pairs)} pairs"
        reached = f"{_percent(share)} (least of a pair {_percent(min(shares))})"
        out.append(Claim(text, f"at least {100 * target:.0f} %", reached, share >= target))
    return out


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws two digits of each source style, as given and in every style."""
    figure = LIGHT.figure(2.2)
    with np.load(home / "transfer.npz") as kept:
        labels = kept["labels"]
        different = dict.fromkeys(labels.tolist())
        chosen = [int(np.flatnonzero(labels == label)[0]) for label in different][: 2 * len(STYLES)]
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
