"""Training speed of residual convolutions on colour sprites of 64×64: `python -m tests.benchmarks.conv_throughput`.

- bare: the same network in plain modules, data resident as uint8, fused AdamW, nothing computed that is not needed;
- resident: `vae.training.loop.Training` in this process, all data in memory;
- streaming: the same with a quarter of the data as its memory budget.

Rows take turns, and are compared within a round. A figure is of a run's second epoch, of training alone. On a GPU both are
compiled to CUDA graphs and their networks are bfloat16; ask for more there, such as `--channels 64 128 --steps 200`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmarks.alternating import alternate, machine, print_rates, print_ratio, ratios
from tests.vae.conftest import _publish
from vae.config import RunConfig, parse
from vae.data.batches import Share
from vae.data.parquet import Dataset
from vae.data.sprites import SIDE, Sprites
from vae.training.loop import Training
from vae.training.world import World

LATENT_DIM, HIDDEN, SIGMA, LEARNING_RATE = 16, 256, 0.25, 1e-3
FLOORS = {("resident", "bare"): 0.95, ("streaming", "resident"): 0.9}


class Setup(NamedTuple):
    """Model and batches of all rows."""

    channels: list[int]
    batch_size: int
    device: torch.device


class Residual(nn.Module):
    """The block x + conv(act(conv(act(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.layers = nn.Sequential(nn.SiLU(), first, nn.SiLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def networks(
    channels: list[int], side: int = SIDE, hidden: int = HIDDEN, latent: int = LATENT_DIM
) -> tuple[nn.Sequential, nn.Sequential]:
    """Returns encoder and decoder of colour images with the layers of a `conv` body with one residual block."""
    down, up = [], []
    for before, after in pairwise([3, *channels]):
        down += [nn.Conv2d(before, after, 4, stride=2, padding=1), Residual(after), nn.SiLU()]
        up = [Residual(after), nn.SiLU(), nn.ConvTranspose2d(after, before, 4, stride=2, padding=1), *up]
    side >>= len(channels)
    width = channels[-1] * side**2
    encoder = [*down, nn.Flatten(), nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latent)]
    decoder = [nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, width), nn.Unflatten(1, (-1, side, side))]
    return nn.Sequential(*encoder), nn.Sequential(*decoder, *up)


class Bare(nn.Module):
    """The loss of a batch of pixels in nats per example, Gaussian with a fixed σ."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.encoder, self.decoder = networks(channels)

    def forward(self, x: Tensor) -> Tensor:
        on_gpu = x.is_cuda
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False) if on_gpu else nullcontext():
            mean, log_std = self.encoder(x).float().chunk(2, dim=1)
            z = mean + log_std.exp() * torch.randn_like(mean)
            outputs = self.decoder(z).float()
        squares = (x - outputs.sigmoid()).square().sum()
        rate = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum()
        return (squares / (2 * SIGMA**2) + rate) / len(x)


def bare(setup: Setup, dataset: Dataset) -> float:
    """Returns the examples per second of the plain loop's second epoch."""
    share = Share.of(dataset, "train", device=setup.device)
    pixels = share.load(share.start, share.stop).values
    model = Bare(setup.channels).to(setup.device)
    on_gpu = setup.device.type == "cuda"
    loss = torch.compile(model, mode="reduce-overhead") if on_gpu else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    rate = 0.0
    for _ in range(2):
        started = time.perf_counter()
        for index in _orders(len(pixels), setup):
            loss(pixels.index_select(0, index).float() / 255).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize()
        rate = len(pixels) // setup.batch_size * setup.batch_size / (time.perf_counter() - started)
    return rate


def _orders(num_rows: int, setup: Setup) -> Iterator[Tensor]:
    order = torch.randperm(num_rows, device=setup.device)
    return iter(order[: num_rows // setup.batch_size * setup.batch_size].view(-1, setup.batch_size))


def betaline(setup: Setup, dataset: Dataset, feed: str) -> float:
    """Returns the examples per second of the second epoch of `Training`."""
    data_bytes = dataset.num_rows("train") * 3 * SIDE**2
    encoder = {"kind": "conv", "channels": setup.channels, "hidden": HIDDEN, "residual_blocks": 1}
    values = {
        "model": {
            "latent_dim": LATENT_DIM,
            "encoder": encoder,
            "likelihood": {"kind": "gaussian", "sigma": "fixed", "initial_sigma": SIGMA},
        },
        "training": {
            "epochs": 2,
            "batch_size": setup.batch_size,
            "learning_rate": LEARNING_RATE,
            "patience_epochs": None,
            "aggregate_components": 0,
            "feed": feed,
            "memory_budget_bytes": data_bytes // 4 if feed == "streaming" else 2 * data_bytes,
        },
    }
    return (
        Training(parse(RunConfig, values), dataset, World.current(setup.device)).run().history[-1].examples_per_second
    )


def sprites(num_train: int, num_validation: int, folder: Path) -> Dataset:
    """Publishes colour sprites, drawn at random from the grid."""
    drawn = Sprites(colour=True)
    index = np.random.default_rng(0).choice(len(drawn), num_train + num_validation, replace=False)
    splits = {"train": num_train, "validation": num_validation}
    return _publish(folder, drawn.render(index), None, splits, group_rows=256)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.conv_throughput", description="See the module.")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=16, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    setup = Setup(chosen.channels, chosen.batch_size, device)
    print(f"channels {chosen.channels}, batches of {chosen.batch_size}, {chosen.steps} steps an epoch, {machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        dataset = sprites(chosen.batch_size * chosen.steps, chosen.batch_size, Path(folder))
        rows = {"bare": partial(bare, setup, dataset)}
        rows |= {feed: partial(betaline, setup, dataset, feed) for feed in ("resident", "streaming")}
        rates = alternate(rows, chosen.rounds)
    print_rates(rates, "examples/s")
    for (above, below), floor in FLOORS.items():
        print_ratio(f"{above} / {below}", ratios(rates, above, below), floor=floor)


if __name__ == "__main__":
    main()
