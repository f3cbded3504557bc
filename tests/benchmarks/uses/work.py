"""Data, classifiers that know no model, and pictures, which the uses share.

Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.data.ingest import IngestConfig
from pipelines.data.sources.config import SplitConfig
from pipelines.report.theme import LIGHT, SMALL_SIZE
from tests.benchmarks.ingest import data_folder
from tests.benchmarks.page import Claim, figures_of, summary
from tests.benchmarks.work import Figures, Job, Outcome, published
from vae.config import RunConfig, parse
from vae.data.parquet import Dataset


class Use(Protocol):
    """The interface of a use's module. Its prose is in `tests/benchmarks/words/use-NAME.md`."""

    def configuration(self) -> RunConfig: ...

    def jobs(self, home: Path) -> list[Job]: ...

    def render(self, outcomes: Sequence[Outcome]) -> str: ...

    def claims(self, outcomes: Sequence[Outcome]) -> list[Claim]: ...

    def draw(self, home: Path, outcomes: Sequence[Outcome]) -> Figure:
        """Draws the picture from arrays that the jobs saved in the home folder."""
        ...


def seeded(row: str, setting: str, seeds: Sequence[int], measure: Callable[..., Figures], *args: object) -> list[Job]:
    """Returns a job `measure(*args, seed)` for each seed."""
    return [Job(row, setting, seed, partial(measure, *args, seed)) for seed in seeds]


def mnist(home: Path) -> Dataset:
    """Ingests MNIST as a user would: 50,000 images to train, 10,000 to validate, 10,000 to test."""
    split = SplitConfig(validation=1 / 6)
    return published(IngestConfig(source=str(data_folder()), name="mnist", split=split), home)


def digits(dataset: Dataset, split: str, start: int, stop: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns images [N,28,28] of 0 to 255 and their labels [N]."""
    rows = dataset.read_rows(split, start, stop)
    assert rows.labels is not None, "MNIST is labelled"
    return rows.values.astype(np.uint8).reshape(-1, 28, 28), rows.labels


def pixels(images_NHW: NDArray[np.uint8]) -> Tensor:
    """Returns grey images as pixels in [0, 1], [N,1,H,W]."""
    return torch.from_numpy(images_NHW[:, None]).float() / 255


def scaled(dataset: Dataset, split: str, count: int) -> NDArray[np.float32]:
    """Returns the first digits of a split in [0, 1], [N,28,28]."""
    return digits(dataset, split, 0, count)[0].astype(np.float32) / 255


def run_config(model: dict, objective: dict, **training: object) -> RunConfig:
    """Returns a run that trains for all its epochs."""
    fixed = {"patience_epochs": None, "aggregate_components": 0, "batch_size": 128, "learning_rate": 2e-3}
    fixed |= {"learning_rate_schedule": "cosine"}
    return parse(RunConfig, {"model": model, "objective": objective, "training": fixed | training})


def plain_run(latent_dim: int, *, beta: float = 1.0, hidden: int = 512, **changes: object) -> RunConfig:
    """Returns the run of a small model of black and white digits; `condition` changes the model, the rest the training."""
    model = {
        "latent_dim": latent_dim,
        "encoder": {"kind": "mlp", "hidden": [hidden], "activation": "relu"},
        "likelihood": {"kind": "bernoulli", "binarization": "dynamic"},
        "condition": changes.pop("condition", []),
    }
    return run_config(model, {"beta": beta}, **changes)


class Judge(nn.Module):
    """Two convolutions and two layers over square images: outputs [N,K] of images [N,C,H,W] in [0, 1]."""

    def __init__(self, channels: int, side: int, num_outputs: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        blocks = [first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25)]
        head = [nn.Linear(32 * (side // 4) ** 2, 96), nn.ReLU(), nn.Linear(96, num_outputs)]
        self.layers = nn.Sequential(*blocks, *head)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.layers(x_NCHW)


def fit(
    x_NCHW: Tensor, num_outputs: int, loss: Callable[[Tensor, Tensor], Tensor], *, steps: int, seed: int, shift: int = 0
) -> Judge:
    """Trains a judge with Adam, its learning rate falling to 0 by a cosine, in batches of 64.

    Args:
        x_NCHW: Pixels in [0, 1].
        num_outputs: Number of outputs.
        loss: Takes the outputs of a batch and the indices of its images.
        steps: Number of batches.
        seed: Seed of weights and batches.
        shift: Most pixels by which a batch is moved at random, in each direction.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge(x_NCHW.shape[1], x_NCHW.shape[3], num_outputs)
        optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            index = torch.randint(len(x_NCHW), (64,))
            batch = x_NCHW[index]
            if shift:
                dy, dx = (int(v) for v in torch.randint(-shift, shift + 1, (2,)))
                batch = torch.roll(batch, (dy, dx), (2, 3))
            optimizer.zero_grad()
            loss(judge(batch), index).backward()
            optimizer.step()
            schedule.step()
    return judge.eval()


def fit_judge(x_NCHW: Tensor, y_N: Tensor, num_classes: int, *, steps: int, seed: int, shift: int = 0) -> Judge:
    """Trains a classifier of images by their class indices; see `fit`."""
    loss = lambda outputs, index: F.cross_entropy(outputs, y_N[index])  # noqa: E731
    return fit(x_NCHW, num_classes, loss, steps=steps, seed=seed, shift=shift)


@torch.no_grad()
def judged(judge: nn.Module, x_NCHW: Tensor) -> Tensor:
    """Returns the class of each image, [N]."""
    return torch.cat([judge(part).argmax(1) for part in x_NCHW.split(1000)])


def mean_of(outcomes: Sequence[Outcome], figure: str) -> float:
    """Returns the mean of a figure over seeds."""
    return float(np.mean(figures_of(outcomes, figure)))


def summaries(outcomes: Sequence[Outcome], name: str, columns: Mapping[str, int]) -> list[str]:
    """Returns a row of a table: the summaries of the figures `NAME, COLUMN`, each with its number of decimals."""
    return [name, *(summary(figures_of(outcomes, f"{name}, {what}"), digits) for what, digits in columns.items())]


def mosaic(images_RCHW: NDArray[np.float32], gap: int = 1) -> NDArray[np.float32]:
    """Returns rows R and columns C of images as one image, with white lines between them."""
    rows, columns, height, width = images_RCHW.shape
    tiles = np.pad(images_RCHW, [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=1)
    whole = tiles.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap))
    return whole[: len(whole) - gap, : whole.shape[1] - gap]


def show(axes: Axes, image: NDArray[np.float32], title: str = "", left: str = "") -> None:
    """Shows an image [H,W] or [H,W,3] in [0, 1], with text above and to its left."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(LIGHT.line)
    if title:
        axes.set_title(title, fontsize=SMALL_SIZE, color=LIGHT.ink, pad=3)
    if left:
        axes.set_ylabel(left, fontsize=SMALL_SIZE, color=LIGHT.ink, rotation=0, ha="right", va="center", labelpad=4)
