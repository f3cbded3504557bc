"""How often the gate's decision on some rows is that on all rows: `python -m tests.benchmarks.gate`.

Trains pairs of models on MNIST at half its size, half of them close and half of them clear, and decides each pair twice: by
default, and with `--exact`. Writes [gate.md](results/gate.md).
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data.sources.idx import parse_idx
from pipelines.jobs.contest import Rows, compete
from pipelines.jobs.scoring import Subject
from tests.benchmarks.command import fill, make_parser
from tests.benchmarks.ingest import data_folder
from tests.benchmarks.page import RESULTS, Claim, Table, figures_of, grid, read_words
from tests.benchmarks.work import Figures, Job, Outcome, train
from tests.vae.conftest import _publish
from tests.workers import InProcess
from vae.config import ModelConfig, RunConfig, TrainingConfig, override
from vae.data.parquet import Dataset
from vae.metrics.paired import CONFIDENCE, FIRST_ROWS
from vae.parts.bodies.mlp import MLP
from vae.training.state import save_model

CONFIG = RunConfig(
    model=ModelConfig(latent_dim=6, encoder=MLP(hidden=(32,))), training=TrainingConfig(epochs=10, batch_size=100)
)
SPLITS = {"train": 5000, "validation": 1000, "test": 10_000}
CLOSE, CLEAR = "close", "clear"
EPOCHS = {CLOSE: (20, 20), CLEAR: (5, 10)}
"""Epochs of the two models of a pair, whose seeds differ."""
NUM_SAMPLES = 20


def halved(mnist: Path, folder: Path) -> Dataset:
    """Publishes MNIST with a pixel for every four, a few rows to train and all of its test split."""
    parts = [parse_idx((mnist / f"{name}-images-idx3-ubyte.gz").read_bytes(), "images") for name in ("train", "t10k")]
    shuffled = np.random.default_rng(0).permutation(parts[1])  # as ingest does: its first half is easier to read
    pixels = np.concatenate([parts[0][: SPLITS["train"] + SPLITS["validation"]], shuffled])
    small = pixels.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5)).round().astype(np.uint8)
    return _publish(folder, small, None, SPLITS, group_rows=1000)


def pair(kind: str, seed: int, uri: str) -> Figures:
    """Trains a pair of models, and decides it by default and on all rows."""
    dataset = Dataset.open(uri)
    epochs = EPOCHS[kind] if seed % 2 else EPOCHS[kind][::-1]
    with tempfile.TemporaryDirectory() as folder:
        candidate, champion = (
            _trained(dataset, Path(folder) / str(number), 2 * seed + number, count)
            for number, count in enumerate(epochs)
        )
        with contextlib.redirect_stdout(io.StringIO()):  # the events of a job
            found = compete(candidate, champion, None, exact=False)
            exact = compete(candidate, champion, None, exact=True)
    assert found is not None
    assert exact is not None
    return {
        "agrees": float((found.nats < 0) == (exact.nats < 0)),
        "share": found.num_examples / found.total,
        "difference": found.nats,
        "low": found.low,
        "high": found.high,
        "exact difference": exact.nats,
    }


def _trained(dataset: Dataset, folder: Path, seed: int, epochs: int) -> Rows:
    """Returns the scores of a new model, of which none is measured yet."""
    changes = {"training.seed": seed, "training.epochs": epochs}
    save_model(train(override(CONFIG, changes), dataset).model, str(folder))
    workers: Any = InProcess()
    return Rows(workers, Subject(str(folder), dataset, None, "cpu"), NUM_SAMPLES, "a model")


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns the table of all pairs, the largest difference first."""
    header = ("pair", "difference by default", "interval", "on all rows", "share of rows", "same decision")
    lines = [
        (
            f"{one.row} {one.seed}",
            f"{one.figures['difference']:+.2f}",
            f"{one.figures['low']:+.2f} to {one.figures['high']:+.2f}",
            f"{one.figures['exact difference']:+.3f}",
            f"{one.figures['share']:.1%}",
            "yes" if one.figures["agrees"] else "**no**",
        )
        for one in sorted(outcomes, key=lambda one: -abs(one.figures["exact difference"]))
    ]
    return grid(header, lines)


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the verdicts on the decisions and on the rows that they took."""
    agreeing, share = sum(figures_of(outcomes, "agrees")), statistics.fmean(figures_of(outcomes, "share"))
    clear = statistics.fmean(figures_of(outcomes, "share", CLEAR))
    held = sum(one.figures["low"] <= one.figures["exact difference"] <= one.figures["high"] for one in outcomes)
    return [
        Claim.of_all("the decision by default is that on all rows", agreeing, len(outcomes), " pairs"),
        Claim.of_all("the interval holds the difference on all rows", held, len(outcomes), " pairs"),
        Claim("clear pairs take few rows", "10 % at most", f"{clear:.1%}", clear <= 0.1),
        Claim("pairs take half of the rows on average", "50 % at most", f"{share:.1%}", share <= 0.5),
    ]


def main() -> None:
    """Decides all pairs, and writes the page."""
    parser = make_parser("gate")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        dataset = halved(data_folder(), Path(home))
        values = {"samples": NUM_SAMPLES, "confidence": CONFIDENCE, "first": FIRST_ROWS, "epochs": EPOCHS}
        values["rows"] = SPLITS
        jobs = [
            Job(kind, "MNIST", seed, partial(pair, kind, seed, dataset.uri))
            for kind in (CLOSE, CLEAR)
            for seed in range(chosen.seeds or 10)
        ]
        table = Table(read_words("gate", values, CONFIG), jobs, render, claims)
        fill(table, chosen, RESULTS / "gate.md", "python -m tests.benchmarks.gate")


if __name__ == "__main__":
    main()
