"""Rows drawn by the preset `table_vae`, TVAE and CTGAN, against real ones; see `real_tables` and `vae.metrics.synthesis`.

TVAE and CTGAN run in the interpreter that the environment's BETALINE_CTGAN_PYTHON names, and are left out without it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.page import Claim, Table, figures_of, grid, read_words, summary
from tests.benchmarks.tables import real_tables, rivals
from tests.benchmarks.tables.real_tables import RealTable
from tests.benchmarks.work import Figures, Job, Outcome, train
from vae.config import override
from vae.config.presets import preset
from vae.config.suiting import facts_of, suited
from vae.data.transforms import transform_of
from vae.inference.coding import generate
from vae.metrics.synthesis.likeness import column_shapes, pair_trends
from vae.metrics.synthesis.privacy import nearer_to_training, nearest_distances, spreads
from vae.metrics.synthesis.usefulness import downstream

SECONDS, LEAST_SECONDS, MOST_ROWS, TRIED_EPOCHS = 120, 30, 32_561, (1, 2)
SEEDS = (0, 1, 2)
REAL, OURS, RIVALS = "real rows", "table_vae", ("TVAE", "CTGAN")
FIGURES = {"shapes": 3, "pairs": 3, "TSTR": 3, "distance": 2, "nearer": 2}
NEIGHBOUR_ROWS = 2_000
"""Figures of a row, with their decimals."""
ENOUGH, MOST_LOSS = 4, 0.02
PYTHON = os.environ.get("BETALINE_CTGAN_PYTHON", "")


def table(home: Path, num_seeds: int | None) -> Table:
    """Returns the table to fill in."""
    methods = (REAL, OURS, *(RIVALS if PYTHON else ()))
    jobs = [
        Job(method, name, seed, partial(measure, method, name, seed, home), -seed)
        for name in real_tables.LOADERS
        for seed in SEEDS[:num_seeds]
        for method in methods
    ]
    return Table(read_words("tables-synthesis", globals(), preset("table_vae")), jobs, _render, _claims)


def measure(method: str, name: str, seed: int, home: Path) -> Figures:
    """Fits, draws as many rows as were fitted to, and compares them with the test split."""
    rows, folder = real_tables.load(name), home / f"{method} {name} {seed}"
    folder.mkdir()
    real = pd.concat(rows[:2], ignore_index=True)
    seconds = max(LEAST_SECONDS, SECONDS * len(real) / MOST_ROWS)
    if method == REAL:
        drawn, spent = real, {}
    elif method == OURS:
        drawn, spent = draw(rows, seed, seconds, folder)
    else:
        drawn, spent = draw_rival(method, rows, real, seed, seconds, folder)
    return {**figures(rows, drawn, rows.test, seed), **spent}


def figures(rows: RealTable, drawn: pd.DataFrame, held_out: pd.DataFrame, seed: int) -> Figures:
    """Returns the figures of drawn rows against held-out ones."""
    columns, rng = rows.columns, np.random.default_rng(seed)
    real_ND = rows.values(pd.concat(rows[:2]) if held_out is rows.test else rows.train)
    made_ND, test_MD = (rows.values(one) for one in (drawn, held_out))
    scores = downstream(made_ND, real_ND, test_MD, columns, len(columns) - 1)
    few = [rng.permutation(one)[:NEIGHBOUR_ROWS] for one in (made_ND, test_MD)]
    near = [np.median(nearest_distances(one, real_ND, columns, spreads(real_ND))) for one in few]
    as_many = min(len(few[1]), len(real_ND))
    return {
        "shapes": column_shapes(test_MD, made_ND, columns),
        "pairs": pair_trends(test_MD, made_ND, columns, rng),
        "TSTR": scores.get("tstr_f1", scores.get("tstr_r2", 0)),
        "real": scores.get("tstr_f1.real", scores.get("tstr_r2.real", 0)),
        "distance": float(near[0] / near[1]),
        "nearer": nearer_to_training(few[0], rng.permutation(real_ND)[:as_many], few[1][:as_many], columns),
    }


def draw(rows: RealTable, seed: int, seconds: float, folder: Path) -> tuple[pd.DataFrame, Figures]:
    """Returns rows of the preset, trained for as many epochs as there is time for, the epochs and their seconds."""
    dataset = rows.publish(folder)
    config = override(suited(facts_of(dataset)).config(), {"training.seed": seed})
    started, ends = time.process_time(), []
    for epochs in TRIED_EPOCHS:
        train(override(config, {"training.epochs": epochs}), dataset)
        ends.append(time.process_time())
    # The shorter try also pays for what torch does once.
    each = (ends[1] - ends[0]) / TRIED_EPOCHS[1]
    epochs = int((seconds - (ends[1] - started)) / each)
    config = override(config, {"training.epochs": max(1, min(epochs, config.training.epochs))})
    trained = train(config, dataset)
    spent = {"epochs": len(trained.history), "seconds": time.process_time() - started}
    made = generate(trained.model.eval(), len(rows.train) + len(rows.validation), seed=seed, output="sample")
    transform = transform_of(trained.model.examples)
    return _as(rows, transform.write_values(transform.restore(made))), spent


def draw_rival(
    method: str, rows: RealTable, real: pd.DataFrame, seed: int, seconds: float, folder: Path
) -> tuple[pd.DataFrame, Figures]:
    """Returns rows of another method, which trains in its own interpreter, the epochs and their seconds."""
    real.to_csv(folder / "real.csv", index=False)
    names, drawn = rows.categories, folder / "drawn.csv"
    given = (method, folder / "real.csv", drawn, ",".join(names), int(seconds), seed, len(real))
    command = [PYTHON, "-W", "ignore", rivals.__file__, *map(str, given)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    epochs, spent = map(float, said.split())
    made = pd.read_csv(drawn, dtype=dict.fromkeys(names, str), keep_default_na=False)
    return _as(rows, made), {"epochs": epochs, "seconds": spent}


def _as(rows: RealTable, drawn: pd.DataFrame) -> pd.DataFrame:
    """Returns drawn rows in the types of the real ones."""
    return drawn.astype(dict(rows.train.dtypes))[list(rows.train.columns)]


def _render(outcomes: Sequence[Outcome]) -> str:
    lines = []
    for name in real_tables.LOADERS:
        for method in (REAL, OURS, *RIVALS):
            if own := _own(outcomes, method, name):
                found = (summary(figures_of(own, one), decimals) for one, decimals in FIGURES.items())
                lines.append((name, method, *found))
    return grid(("table", "rows", *FIGURES), lines)


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    names = list(real_tables.LOADERS)
    claims = []
    for figure in ("shapes", "TSTR"):
        for rival in RIVALS if PYTHON else ():
            better = sum(_mean(outcomes, OURS, name, figure) > _mean(outcomes, rival, name, figure) for name in names)
            text = f"{figure}: tables on which `{OURS}` is better than {rival}"
            claims.append(Claim(text, f"≥ {ENOUGH} of {len(names)}", f"{better}", better >= ENOUGH))
    loss = _mean(outcomes, REAL, "Adult", "TSTR") - _mean(outcomes, OURS, "Adult", "TSTR")
    claims.append(Claim("Adult: macro F1 lost to real rows", f"≤ {MOST_LOSS}", f"{loss:.3f}", loss <= MOST_LOSS))
    for name in names:
        ratio = _mean(outcomes, OURS, name, "distance")
        claims.append(Claim(f"{name}: drawn rows are no nearer than new rows", "≥ 1", f"{ratio:.2f}", ratio >= 1))
    return claims


def _own(outcomes: Sequence[Outcome], method: str, name: str) -> list[Outcome]:
    return [one for one in outcomes if (one.row, one.setting) == (method, name)]


def _mean(outcomes: Sequence[Outcome], method: str, name: str, figure: str) -> float:
    values = figures_of(_own(outcomes, method, name), figure)
    return sum(values) / len(values)
