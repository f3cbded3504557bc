"""Two workers against one: training of an MLP and of convolutions in step, weak and strong, and what their time goes to."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.page import Claim, Table, grid, read_words
from tests.benchmarks.scale.trainer import Rank
from tests.benchmarks.scale.turns import Turn, started
from tests.benchmarks.work import Figures, Job, Outcome
from tests.vae.conftest import _publish

STRETCHES, ROUNDS, NUM_EPOCHS = 3, 5, 100_000


QUIET_SHARE = 0.1
"""Share of the processors that other programs may take in a round that counts as quiet."""


class Model(NamedTuple):
    """A model, and the step of one of its workers."""

    name: str
    shape: tuple[int, int, int]
    batch_size: int
    """Examples of a step on one worker."""
    steps: int
    """Steps of a turn."""
    least: float
    """Least speed of two workers over one that is aimed at."""
    encoder: Mapping[str, Any]
    likelihood: Mapping[str, Any]

    def config(self, batch_size: int) -> dict[str, Any]:
        """Returns the configuration of a run that never ends, with a batch of all ranks."""
        training = {"epochs": NUM_EPOCHS, "batch_size": batch_size, "patience_epochs": None, "aggregate_components": 0}
        model = {"latent_dim": 16, "encoder": self.encoder, "likelihood": self.likelihood}
        return {"model": model, "training": training}


MODELS = (
    Model(
        "MLP", (1, 28, 28), 512, 20, 1.4, {"kind": "mlp", "hidden": [512]},
        {"kind": "bernoulli", "binarization": "static"},
    ),
    Model(
        "convolutions", (3, 32, 32), 128, 6, 1.8,
        {"kind": "conv", "channels": [16, 32], "hidden": 128, "residual_blocks": 1},
        {"kind": "gaussian", "sigma": "fixed", "initial_sigma": 0.25},
    ),
)  # fmt: skip


class Row(NamedTuple):
    """A training that takes its turn."""

    name: str
    loop: str
    size: int
    """Ranks that train in step."""
    copies: int
    """Trainings of that size at the same time, which know nothing of each other."""
    share: float
    """Batch of a rank, as a share of that of one worker."""


ONE, APART, WEAK = "one worker", "two runs apart", "two workers, weak"
BARE, BARE_WEAK = "bare loop, one", "bare loop, two, weak"
ROWS = (
    Row(ONE, "product", 1, 1, 1),
    Row(APART, "product", 1, 2, 1),
    Row(WEAK, "product", 2, 1, 1),
    Row("two workers, strong", "product", 2, 1, 0.5),
    Row(BARE, "bare", 1, 1, 1),
    Row(BARE_WEAK, "bare", 2, 1, 1),
    Row("all-reduce alone", "reduce", 2, 1, 1),
)
FIGURES: Mapping[str, Callable[[Turn], float]] = {
    "step": lambda turn: turn.step_seconds,
    "compute": lambda turn: statistics.fmean((b.training - b.data) / b.steps for b in turn.blocks),
    "reduce": lambda turn: statistics.fmean(b.others / b.steps for b in turn.blocks),
    "data": lambda turn: statistics.fmean(b.data / b.steps for b in turn.blocks),
    "foreign": lambda turn: turn.foreign,
}
"""Figures of a turn, in seconds of a step, means of the ranks; the last is a share of the machine's processors."""


def table(home: Path, num_seeds: int | None) -> Table:
    """Returns the table to fill in."""
    stretches = range(num_seeds or STRETCHES)
    jobs = [Job(model.name, "in turns", seed, partial(_measure, model, home)) for model in MODELS for seed in stretches]
    return Table(read_words("scale-workers", globals()), jobs, _render, _claims)


def _measure(model: Model, home: Path) -> Figures:
    """Runs all rows in turns, round by round; returns the figures of each by `ROW/FIGURE/ROUND`."""
    folder = Path(tempfile.mkdtemp(dir=home))
    try:
        with started({row.name: _ranks(model, row, folder) for row in ROWS}) as groups:
            for group in groups.values():
                group.turn()  # the first steps are slower
            found: dict[str, float] = {}
            for number in range(ROUNDS):
                for name, group in groups.items():
                    turn = group.turn()
                    found |= {f"{name}/{figure}/{number}": of(turn) for figure, of in FIGURES.items()}
        return found
    finally:
        shutil.rmtree(folder)


def _ranks(model: Model, row: Row, folder: Path) -> list[Rank]:
    batch_size = round(model.batch_size * row.share * row.size)
    dataset = _dataset(model, batch_size * model.steps, folder)
    return [
        Rank(row.loop, model.config(batch_size), dataset, str(folder / f"{row.name} {copy}"), rank, row.size)
        for copy in range(row.copies)
        for rank in range(row.size)
    ]


def _dataset(model: Model, num_rows: int, folder: Path) -> str:
    """Publishes random pixels that make an epoch of as many rows."""
    where = folder / str(num_rows)
    if not where.exists():
        pixels = np.random.default_rng(0).integers(0, 256, (num_rows + 64, *model.shape), np.uint8)
        _publish(where, pixels, None, {"train": num_rows, "validation": 64}, group_rows=256)
    return str(where)


class Rounds:
    """Figures of one model, round by round, over all its stretches."""

    def __init__(self, outcomes: Sequence[Outcome], model: str) -> None:
        self.outcomes = [outcome for outcome in outcomes if outcome.row == model]

    def of(self, row: str, figure: str) -> list[float]:
        """Returns one figure of a row in each round."""
        numbers = range(ROUNDS)
        return [outcome.figures[f"{row}/{figure}/{number}"] for outcome in self.outcomes for number in numbers]

    def median(self, row: str, figure: str) -> float:
        """Returns the median of one figure of a row."""
        return statistics.median(self.of(row, figure))

    def speeds(self, row: Row, base: str = ONE) -> list[float]:
        """Returns the examples per second of a row over those of a row with one worker's batch, round by round."""
        examples = row.size * row.copies * row.share
        pairs = zip(self.of(base, "step"), self.of(row.name, "step"), strict=True)
        return [examples * one / step for one, step in pairs]

    def quiet_speeds(self, row: Row) -> list[float]:
        """Returns the speeds over one worker's of the rounds in which other programs hardly ran beside the row."""
        pairs = zip(self.speeds(row), self.of(row.name, "foreign"), strict=True)
        return [speed for speed, foreign in pairs if foreign <= QUIET_SHARE]

    def bound(self, row: Row) -> float:
        """Returns the speed over one worker's if nothing were waited for, from processor seconds alone."""
        one, each = (self.median(name, "compute") + self.median(name, "reduce") for name in (ONE, row.name))
        return row.size * row.copies * row.share * one / each


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Returns the median, and the least and greatest in brackets."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _quiet(speeds: Sequence[float]) -> str:
    return f"{len(speeds)} rounds: {spread(speeds)}" if speeds else "none"


def _render(outcomes: Sequence[Outcome]) -> str:
    header = (
        "training", "ms of a step", "speed over one worker", "of that in quiet rounds", "speed if nothing waited",
        "computing, ms",
        "all-reduce, ms", "data, ms", "waiting, ms", "other programs",
    )  # fmt: skip
    parts: list[str] = []
    for model in MODELS:
        rounds, lines = Rounds(outcomes, model.name), list[list[str]]()
        for row in ROWS:
            step, *used = (1e3 * rounds.median(row.name, figure) for figure in ("step", "compute", "reduce", "data"))
            is_training = row.loop != "reduce"
            lines.append(
                [
                    row.name,
                    spread([1e3 * step for step in rounds.of(row.name, "step")], ".1f"),
                    spread(rounds.speeds(row)) if is_training else "",
                    _quiet(rounds.quiet_speeds(row)) if is_training and row.size * row.copies > 1 else "",
                    f"{rounds.bound(row):.2f}" if is_training else "",
                    *(f"{ms:.2f}" for ms in (*used, step - sum(used))),
                    f"{100 * rounds.median(row.name, 'foreign'):.0f} %",
                ]
            )
        parts += [f"**{model.name}**, {model.batch_size} examples a step on one worker", grid(header, lines)]
    return "\n\n".join(parts)


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    claims: list[Claim] = []
    apart, weak, bare = (next(row for row in ROWS if row.name == name) for name in (APART, WEAK, BARE_WEAK))
    for model in MODELS:
        rounds = Rounds(outcomes, model.name)
        speeds = rounds.speeds(weak)
        against = _ratios(speeds, rounds.speeds(bare, BARE)), _ratios(speeds, rounds.speeds(apart))
        claims += [
            _at_least(f"{model.name}: speed of two workers over one", model.least, speeds),
            _at_least(f"{model.name}: the same over the bare loop's", 0.95, against[0]),
            _at_least(f"{model.name}: the same over that of two runs apart", 0.9, against[1]),
        ]
    return claims


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _at_least(text: str, least: float, values: Sequence[float]) -> Claim:
    return Claim(text, f"≥ {least}", spread(values), statistics.median(values) >= least)
