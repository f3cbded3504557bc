"""Ingest, training, promotion and application of many small rows: memory of each process, and the cost of a row."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import services as embedded
from pipelines.services.commands import ray_folder
from tests.benchmarks.page import Claim, Table, grid, read_words
from tests.benchmarks.scale.watch import PARTS, run
from tests.benchmarks.work import Figures, Job, Outcome

COLUMNS, FACTORS, BLOCK_ROWS = 8, 3, 1 << 18
BATCH_SIZE, BUDGET_BYTES = 1024, 64 << 20
MODEL = "rows-model"
TRAINING = {
    "model.latent_dim": 4,
    "training.epochs": 1,
    "training.batch_size": BATCH_SIZE,
    "training.feed": "streaming",
    "training.memory_budget_bytes": BUDGET_BYTES,
}
STAGES: Mapping[str, Sequence[str]] = {
    "ingest": ("ingest", "{source}", "rows", "--run", "ingest"),
    "train": (
        "train",
        "rows",
        "--preset",
        "table_vae",
        "--run",
        "train",
        *(f"--set={k}={v}" for k, v in TRAINING.items()),
    ),
    "promote": ("promote", "train", MODEL),
    "apply": ("apply", "encode", MODEL, "rows", "--run", "apply"),
}
SIZES = dict.fromkeys(STAGES, (100_000, 1_000_000, 10_000_000))
"""Rows of the table, for each stage."""
LEAST_FACTOR = 100
"""Least factor of the rows at which a stage is judged; the rows themselves are then more than `FLAT_BYTES`."""
FLAT_BYTES = 128e6
"""Most growth of a process's memory from the fewest rows to the most that counts as flat."""


def table(home: Path, num_seeds: int | None) -> Table:
    """Returns the table to fill in; the jobs of one size follow each other in one home."""
    jobs = [
        Job(_name(stage, rows), "memory and time", 0, partial(_measure, stage, rows, home / str(rows)), -number)
        for number, (rows, stage) in enumerate(_pairs())
    ]
    return Table(read_words("scale-rows", globals()), jobs, _render, _claims)


def _pairs() -> list[tuple[int, str]]:
    """Returns sizes and stages, the stages of a size after each other."""
    sizes = sorted({rows for each in SIZES.values() for rows in each})
    return [(rows, stage) for rows in sizes for stage in STAGES if rows in SIZES[stage]]


def _name(stage: str, rows: int) -> str:
    return f"{stage}, {rows:,} rows"


def _measure(stage: str, rows: int, home: Path) -> Figures:
    """Runs one stage on a home that has the stages before it."""
    home.mkdir(parents=True, exist_ok=True)
    source = home / "source.parquet"
    if not source.exists():
        _write(source, rows)
    services = embedded.start(home)
    try:
        found = run([word.format(source=source) for word in STAGES[stage]], home, services)
    finally:
        embedded.stop(services)
        shutil.rmtree(ray_folder(home), ignore_errors=True)
    if (rows, stage) == [pair for pair in _pairs() if pair[0] == rows][-1]:
        shutil.rmtree(home)
    return {"seconds": found.seconds, "processor": found.processor, **found.peaks}


def _write(path: Path, rows: int) -> None:
    """Writes columns of normal numbers that depend on a few factors, block by block."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(FACTORS, COLUMNS))
    names = [f"x{column}" for column in range(COLUMNS)]
    partial_path = path.with_suffix(".partial")
    with pq.ParquetWriter(partial_path, pa.schema([(name, pa.float64()) for name in names])) as writer:
        for start in range(0, rows, BLOCK_ROWS):
            number = min(BLOCK_ROWS, rows - start)
            values = rng.normal(size=(number, FACTORS)) @ loadings + 0.3 * rng.normal(size=(number, COLUMNS))
            writer.write_table(pa.table(dict(zip(names, values.T.round(4), strict=True))))
    partial_path.rename(path)


def _render(outcomes: Sequence[Outcome]) -> str:
    header = (
        "stage",
        "rows",
        "seconds",
        "processor seconds",
        "processor µs of a further row",
        *(f"{part}, MB" for part in PARTS.values()),
    )
    found = {outcome.row: outcome.figures for outcome in outcomes}
    lines: list[list[str]] = []
    for stage in STAGES:
        for number, rows in enumerate(SIZES[stage]):
            of = found[_name(stage, rows)]
            before = found[_name(stage, SIZES[stage][number - 1])] if number else None
            further = rows - SIZES[stage][number - 1]
            each = f"{1e6 * (of['processor'] - before['processor']) / further:.1f}" if before else ""
            memory = [f"{of.get(part, 0) / 1e6:,.0f}" for part in PARTS]
            lines.append([stage, f"{rows:,}", f"{of['seconds']:.0f}", f"{of['processor']:.0f}", each, *memory])
    return grid(header, lines)


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    found = {outcome.row: outcome.figures for outcome in outcomes}
    claims: list[Claim] = []
    for stage in STAGES:
        least, most = SIZES[stage][0], SIZES[stage][-1]
        if most < LEAST_FACTOR * least:
            continue
        peaks = [found[_name(stage, rows)] for rows in (least, most)]
        for part, name in PARTS.items():
            growth = peaks[1].get(part, 0) - peaks[0].get(part, 0)
            text = f"{stage}: memory of {name} from {least:,} to {most:,} rows"
            bound = f"≤ {FLAT_BYTES / 1e6:.0f} MB more"
            claims.append(Claim(text, bound, f"{growth / 1e6:+,.0f} MB", growth <= FLAT_BYTES))
    return claims
