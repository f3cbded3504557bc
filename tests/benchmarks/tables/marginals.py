"""Distances of generated columns of many shapes to real ones, with and without curves.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from tests.benchmarks.page import Claim, Table, figures_of, grid, read_words, summary
from tests.benchmarks.work import Figures, Job, Outcome, train
from tests.vae.conftest import _publish_table
from vae.config import override
from vae.config.presets import preset
from vae.data.schema import Column, ColumnType
from vae.data.transforms import transform_of
from vae.inference.coding import generate
from vae.metrics.tables import column_distance

TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS, EPOCHS, SEEDS = 10_000, 2_000, 10_000, 30, (0, 1, 2)
MOST_DISTANCE, CORRELATION = 0.05, 0.8
Values = NDArray[np.float64]


class Shape(NamedTuple):
    """A kind of column."""

    of: Callable[[Values], NDArray[Any]]
    """From standard normal numbers, which correlate with the other columns, to the column's values."""
    type: ColumnType = "real"
    dtype: str = "double"


def _zero_inflated(z_N: Values) -> Values:
    return np.where(z_N < 0.8, 0.0, np.round(np.exp(6 + 1.5 * (z_N - 0.8)), 2))


def _bimodal(z_N: Values) -> Values:
    return np.where(z_N < -0.3, -3 + 0.5 * z_N, 3 + z_N)


SHAPES: Mapping[str, Shape] = {
    "lognormal": Shape(np.exp, "positive"),
    "bimodal": Shape(_bimodal),
    "Student-t, 2 degrees": Shape(lambda z_N: stats.t(2).ppf(stats.norm.cdf(z_N))),
    "zero-inflated": Shape(_zero_inflated, "money"),
    "date": Shape(lambda z_N: np.round(15_000 + 3_650 * stats.norm.cdf(z_N) ** 2), "time", "date32[day]"),
    "percentage": Shape(lambda z_N: np.round(100 * stats.beta(2, 0.8).ppf(stats.norm.cdf(z_N)), 1), "share"),
}
SETTINGS = {"curves": {}, "standard": {"data.transform": "standard", "model.likelihood.numeric": "gaussian"}}


def table(home: Path, num_seeds: int | None) -> Table:
    """Returns the table to fill in."""
    jobs = [
        Job(name, setting, seed, partial(measure, name, setting, seed, home))
        for name in SHAPES
        for setting in SETTINGS
        for seed in SEEDS[:num_seeds]
    ]
    return Table(read_words("tables-marginals", globals(), preset("table_vae")), jobs, _render, _claims)


def measure(name: str, setting: str, seed: int, home: Path) -> Figures:
    """Trains on one table, and compares as many generated rows with those of the test split."""
    shape, folder = SHAPES[name], home / f"{name} {setting} {seed}"
    folder.mkdir()
    rng = np.random.default_rng((seed, list(SHAPES).index(name)))
    num_rows = TRAIN_ROWS + VALIDATION_ROWS + TEST_ROWS
    factor_N, z_N, other_N = rng.normal(size=(3, num_rows))
    values = pa.array(shape.of(CORRELATION * factor_N + (1 - CORRELATION**2) ** 0.5 * z_N))
    if shape.type == "time":
        values = values.cast(pa.int32()).cast(pa.date32())
    letters = np.array(["a", "b", "c"])[np.digitize(factor_N + 0.5 * rng.normal(size=num_rows), [-0.5, 0.8])]
    rows = pa.table({"value": values, "number": CORRELATION * factor_N + 0.6 * other_N, "letter": letters})
    columns = [
        Column("value", dtype=shape.dtype, type=shape.type),
        Column("number"),
        Column("letter", ("a", "b", "c"), dtype="string"),
    ]
    splits = {"train": TRAIN_ROWS, "validation": VALIDATION_ROWS, "test": TEST_ROWS}
    dataset = _publish_table(folder, rows, columns, None, splits, 5_000)
    changes = {"training.epochs": EPOCHS, "training.seed": seed, **SETTINGS[setting]}
    model = train(override(preset("table_vae"), changes), dataset).model.eval()
    draws = generate(model, TEST_ROWS, seed=seed, output="sample")
    drawn_ND = transform_of(model.examples).restore(draws).astype(np.float64)
    real_ND = dataset.read_rows("test", 0, TEST_ROWS).values.astype(np.float64)
    real, generated = (np.corrcoef(stats.rankdata(both[:, :2], axis=0).T)[0, 1] for both in (real_ND, drawn_ND))
    return {
        "distance": column_distance(drawn_ND[:, 0], real_ND[:, 0], None),
        "number": column_distance(drawn_ND[:, 1], real_ND[:, 1], None),
        "letter": column_distance(drawn_ND[:, 2], real_ND[:, 2], 3),
        "correlation": float(real),
        "generated correlation": float(generated),
    }


def _render(outcomes: Sequence[Outcome]) -> str:
    header = ("column", "KS distance", "without curves", "Spearman's ρ with the number: real", "generated")
    lines = []
    for name in SHAPES:
        own = [one for one in outcomes if one.row == name]
        curves, standard = ([one for one in own if one.setting == setting] for setting in SETTINGS)
        distances = (summary(figures_of(some, "distance"), 3) for some in (curves, standard))
        correlations = (summary(figures_of(curves, one), 2) for one in ("correlation", "generated correlation"))
        lines.append((name, *distances, *correlations))
    return grid(header, lines)


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    claims = []
    for name in SHAPES:
        found = figures_of([one for one in outcomes if one.setting == "curves"], "distance", name)
        worst = max(found)
        claims.append(
            Claim(f"{name}: KS distance of every seed", f"≤ {MOST_DISTANCE}", f"{worst:.3f}", worst <= MOST_DISTANCE)
        )
    return claims
