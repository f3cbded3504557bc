"""What the uses share: their data, small classifiers that know no model, and pictures.

Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from pipelines.report.theme import INK, LINE, SMALL_SIZE
from tests.benchmarks.ingest import data_folder
from tests.benchmarks.reproduce.work import Claim, Job, Outcome, Table, published
from vae.config import RunConfig, parse
from vae.data.parquet import Dataset

SEEDS_LEGEND = "Mean ± standard deviation over seeds (each seed), where there are several."


class Use(Protocol):
    """What a module of a use holds."""

    TITLE: str
    LEGEND: str
    """Under the table."""
    SHORTFALLS: tuple[str, ...]
    """What it does not show."""

    def jobs(self, home: Path) -> list[Job]: ...

    def protocol(self) -> tuple[str, ...]: ...

    def render(self, outcomes: Sequence[Outcome]) -> str: ...

    def claims(self, outcomes: Sequence[Outcome]) -> list[Claim]: ...

    def draw(self, home: Path, outcomes: Sequence[Outcome]) -> Figure:
        """The picture, of what the jobs left in the home."""
        ...


def table_of(use: Use, home: Path) -> Table:
    """The table that a use fills."""
    return Table(use.TITLE, use.protocol(), use.SHORTFALLS, use.jobs(home), use.render, use.claims, use.LEGEND)


def mnist(home: Path) -> Dataset:
    """MNIST, ingested as a user would: 50,000 images to train, 10,000 to validate, 10,000 to test."""
    split = SplitConfig(validation=1 / 6)
    return published(IngestConfig(source=str(data_folder()), name="mnist", split=split), home)


def digits(dataset: Dataset, split: str, start: int, stop: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images [N,28,28] of 0 to 255 and their labels [N]."""
    rows = dataset.read_rows(split, start, stop)
    assert rows.labels is not None, "MNIST is labelled"
    return rows.values.astype(np.uint8).reshape(-1, 28, 28), rows.labels


def run_config(model: dict, objective: dict, **training: object) -> RunConfig:
    """A run of all its epochs."""
    fixed = {"patience_epochs": None, "aggregate_components": 0}
    return parse(RunConfig, {"model": model, "objective": objective, "training": fixed | training})


def plain_run(latent_dim: int, *, beta: float = 1.0, condition: Sequence[str] = (), **training: object) -> RunConfig:
    """The run of a small model of black and white digits."""
    model = {
        "latent_dim": latent_dim,
        "encoder": {"kind": "mlp", "hidden": [512], "activation": "relu"},
        "likelihood": {"kind": "bernoulli", "binarization": "dynamic"},
        "condition": list(condition),
    }
    fixed = {"epochs": 10, "batch_size": 128, "learning_rate": 2e-3, "learning_rate_schedule": "cosine"}
    return run_config(model, {"beta": beta}, **(fixed | training))


class Judge(nn.Module):
    """Two convolutions and two layers over square images: outputs [N,K] of images [N,C,H,W] in [0, 1]."""

    def __init__(self, channels: int, side: int, num_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(32 * (side // 4) ** 2, 96),
            nn.ReLU(),
            nn.Linear(96, num_outputs),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.layers(x_NCHW)


def fit_judge(
    x_NCHW: Tensor, y_N: Tensor, num_classes: int, *, steps: int, seed: int, batch_size: int = 64, shift: int = 0
) -> Judge:
    """A classifier after so many steps of Adam, its rate falling to nothing by a cosine.

    Args:
        x_NCHW: Pixels in [0, 1].
        y_N: Class indices.
        num_classes: How many.
        steps: Batches that it sees.
        seed: Of its weights and batches.
        batch_size: Images of a step.
        shift: Pixels by which a batch is moved at most, each way, at random.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge(x_NCHW.shape[1], x_NCHW.shape[3], num_classes)
        optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            index = torch.randint(len(x_NCHW), (batch_size,))
            batch = x_NCHW[index]
            if shift:
                dy, dx = (int(v) for v in torch.randint(-shift, shift + 1, (2,)))
                batch = torch.roll(batch, (dy, dx), (2, 3))
            optimizer.zero_grad()
            F.cross_entropy(judge(batch), y_N[index]).backward()
            optimizer.step()
            schedule.step()
    return judge.eval()


@torch.no_grad()
def judged(judge: nn.Module, x_NCHW: Tensor) -> Tensor:
    """The class of each image, [N]."""
    return torch.cat([judge(part).argmax(1) for part in x_NCHW.split(1000)])


def mosaic(images_RCHW: NDArray[np.float32], gap: int = 1) -> NDArray[np.float32]:
    """Rows R and columns C of images [R,C,H,W] as one, with white lines of so many pixels between them."""
    rows, columns, height, width = images_RCHW.shape
    tiles = np.pad(images_RCHW, [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=1)
    whole = tiles.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap))
    return whole[: len(whole) - gap, : whole.shape[1] - gap]


def show(axes: Axes, image: NDArray[np.float32], title: str = "", left: str = "") -> None:
    """An image [H,W] or [H,W,3] in [0, 1], with words above and to its left."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(LINE)
    if title:
        axes.set_title(title, fontsize=SMALL_SIZE, color=INK, pad=3)
    if left:
        axes.set_ylabel(left, fontsize=SMALL_SIZE, color=INK, rotation=0, ha="right", va="center", labelpad=4)
