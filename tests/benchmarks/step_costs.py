"""Cost of each regulariser in a training step: `python -m tests.benchmarks.step_costs`.

Batches of 128; an MLP of 784-512-16 and back on 28×28 pixels, and convolutions of 32 and 64 channels on 64×64. Each row is
`vae.training.loop` with nothing but its regulariser, and its time is that of the second epoch. On a CPU it is the time
that the process had, which other work on the machine changes less than the clock. Rows take turns, and are compared
with the plain one within a round.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.alternating import alternate, machine, print_rates, print_ratio, ratios
from tests.vae.conftest import _publish
from vae.config import RunConfig, parse
from vae.data.parquet import Dataset
from vae.training.hooks import EpochReport, Hooks
from vae.training.loop import Training
from vae.training.world import World

BATCH_SIZE = 128
CEILING = 1.15
"""Largest ratio of a step's time to that of a plain one."""
PLAIN = "plain"
REGULARIZERS: Mapping[str, list[dict[str, Any]]] = {
    PLAIN: [],
    "total_correlation": [{"kind": "total_correlation"}],
    "dip i": [{"kind": "dip", "variant": "i"}],
    "dip ii": [{"kind": "dip", "variant": "ii"}],
    "mmd imq": [{"kind": "mmd", "kernel": "imq"}],
    "mmd rbf": [{"kind": "mmd", "kernel": "rbf"}],
    "adversary": [{"kind": "adversary"}],
}
BODIES: Mapping[str, tuple[int, dict[str, Any]]] = {
    "mlp": (28, {"latent_dim": 16, "encoder": {"kind": "mlp", "hidden": [512]}}),
    "conv": (64, {"latent_dim": 16, "encoder": {"kind": "conv", "channels": [32, 64]}}),
}
"""Side of the images in pixels, and the model."""


class _Clock(Hooks):
    """Reads the clock at the end of every epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch(self, report: EpochReport) -> None:
        self.seconds.append(time.perf_counter() if torch.cuda.is_available() else time.process_time())


def milliseconds_per_step(model: dict[str, Any], regularizers: list[dict[str, Any]], dataset: Dataset) -> float:
    """Returns the milliseconds of a step in the second epoch of a run that validates on one batch."""
    values = {
        "model": {**model, "likelihood": {"kind": "bernoulli", "binarization": "none"}},
        "objective": {"regularizers": regularizers},
        "training": {"epochs": 2, "batch_size": BATCH_SIZE, "patience_epochs": None, "aggregate_components": 0},
    }
    device, clock = "cuda" if torch.cuda.is_available() else "cpu", _Clock()
    training = Training(parse(RunConfig, values), dataset, World.current(device), hooks=clock)
    training.run()
    first, second = clock.seconds
    return 1e3 * (second - first) / training.feed.steps_per_epoch


def binary_noise(side: int, num_rows: int, folder: Path) -> Dataset:
    """Publishes images of binary noise."""
    pixels = np.random.default_rng(0).integers(2, size=(num_rows, 1, side, side), dtype=np.uint8) * np.uint8(255)
    return _publish(folder, pixels, None, {"train": num_rows - BATCH_SIZE, "validation": BATCH_SIZE}, group_rows=1024)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.step_costs", description="See the module.")
    parser.add_argument("--bodies", nargs="+", choices=BODIES, default=list(BODIES))
    parser.add_argument("--rows", nargs="+", choices=REGULARIZERS, default=list(REGULARIZERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of an epoch; default 100 of the MLP, 8 of the convolutions")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(f"batches of {BATCH_SIZE}, {machine()}")
    for body in chosen.bodies:
        side, model = BODIES[body]
        steps = chosen.steps or {"mlp": 100, "conv": 8}[body]
        with tempfile.TemporaryDirectory() as folder:
            dataset = binary_noise(side, BATCH_SIZE * (steps + 1), Path(folder))
            names = dict.fromkeys([PLAIN, *chosen.rows])
            rows = {name: partial(milliseconds_per_step, model, REGULARIZERS[name], dataset) for name in names}
            rates = alternate(rows, chosen.rounds)
        print(f"\n{body}")
        print_rates(rates, "ms a step")
        for name in names:
            if name != PLAIN:
                print_ratio(f"step: {name} / {PLAIN}", ratios(rates, name, PLAIN), ceiling=CEILING)


if __name__ == "__main__":
    main()
