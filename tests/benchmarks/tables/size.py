"""Time, memory and temporary files of the ingest of tables of many sizes, and what was said of them beforehand."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tests.benchmarks.page import Claim, Table, grid, read_words
from tests.benchmarks.tables.measured import measure
from tests.benchmarks.work import Figures, Job, Outcome
from vae.training.footprint import TRUST

BLOCK_VALUES = 1 << 21
FACTOR, WIDE = 2, 1000
"""Most that an expected figure may be off; columns above which a table is also trained."""
FLAT_BYTES, ROW_BYTES = 256e6, 48
"""Most memory beyond that of the libraries: whatever the rows, and for each row, as one column's understanding takes."""


class Size(NamedTuple):
    """A table to ingest."""

    num_rows: int
    num_columns: int = 20
    ending: str = ".csv"
    has_keys: bool = False
    """Whether two columns are texts: one differs in every row, one has 300,000 values."""

    @property
    def name(self) -> str:
        """Rows and columns."""
        return f"{self.num_rows:,} × {self.num_columns:,}{', texts' * self.has_keys}"


SIZES = (
    Size(100_000),
    Size(1_000_000),
    Size(1_000_000, ending=".csv.gz"),
    Size(1_000_000, ending=".csv.zst"),
    Size(1_000_000, ending=".jsonl"),
    Size(1_000_000, ending=".parquet"),
    Size(1_000_000, has_keys=True),
    Size(10_000_000),
    Size(5_000, 20_000),
)
EXPECTED = {"peak": "memory", "temporary": "temporary files", "stored": "size of the dataset"}


def table(home: Path, num_seeds: int | None) -> Table:
    """Returns the table to fill in."""
    jobs = [Job(one.name, one.ending, 0, partial(_measure, one, home), one.num_rows) for one in SIZES]
    return Table(read_words("tables-size", globals()), jobs, _render, _claims)


def _measure(size: Size, home: Path) -> Figures:
    folder = home / f"{size.name} {size.ending}"
    folder.mkdir(parents=True)
    try:
        source = _write(size, folder)
        figures = {"source": source.stat().st_size, **measure("ingest", source, folder / "home")}
        if size.num_columns > WIDE:
            [dataset] = (folder / "home" / "datasets" / "measured").glob("[0-9a-f]*")
            figures |= {f"train_{name}": value for name, value in measure("train", dataset, folder / "home").items()}
        return figures
    finally:
        shutil.rmtree(folder)


def _write(size: Size, folder: Path) -> Path:
    """Writes a table block by block; returns its file."""
    rng, rows = np.random.default_rng(0), max(1, BLOCK_VALUES // size.num_columns)
    path = folder / f"table{size.ending}"
    blocks = (_block(size, rng, start, min(start + rows, size.num_rows)) for start in range(0, size.num_rows, rows))
    with pa.OSFile(str(path), "wb") if path.suffix == ".parquet" else pa.output_stream(path, "detect") as stream:
        writer = None
        for block in blocks:
            if path.suffix == ".jsonl":
                stream.write(pl.DataFrame(block).write_ndjson().encode())
                continue
            if writer is None and path.suffix == ".parquet":
                writer = pq.ParquetWriter(stream, block.schema)
            elif writer is None:
                options = pyarrow.csv.WriteOptions(quoting_style="none")
                writer = pyarrow.csv.CSVWriter(stream, block.schema, write_options=options)
            writer.write_table(block)
        if writer is not None:
            writer.close()
    return path


def _block(size: Size, rng: np.random.Generator, start: int, stop: int) -> pa.Table:
    number = stop - start
    if size.num_columns > WIDE:
        return pa.table({f"c{place}": (rng.random(number) < 0.1).astype(np.int8) for place in range(size.num_columns)})
    columns: dict[str, Any] = {
        "id": np.arange(start, stop),
        "when": pa.array(np.datetime64("2019-01-01") + rng.integers(0, 2000, number)),
        "amount": np.exp(rng.normal(3, 1, number)).round(2),
        "country": pa.array([f"C{code}" for code in range(40)]).take(pa.array(rng.integers(0, 40, number))),
    }
    if size.has_keys:
        columns["email"] = pa.array([f"{number * 7919 % 99_999_989:08d}@example.com" for number in range(start, stop)])
        columns["key"] = pa.array([f"k{code:06d}" for code in rng.integers(0, 300_000, number).tolist()])
    others = range(size.num_columns - len(columns))
    return pa.table({**columns, **{f"x{place}": rng.normal(size=number).round(3) for place in others}})


def _render(outcomes: Sequence[Outcome]) -> str:
    header = (
        "rows × columns", "file", "its size, MB", "seconds", "processor seconds", "cells a second",
        "memory, MB", "beyond the libraries, MB", "expected, MB", "temporary files, MB", "expected, MB",
        "dataset, MB", "expected, MB",
    )  # fmt: skip
    lines = []
    for size in SIZES:
        for one in outcomes:
            if (one.row, one.setting) == (size.name, size.ending):
                of = one.figures
                speed = size.num_rows * size.num_columns / of["seconds"]
                pairs = [_mb(of[name]) for each in EXPECTED for name in (each, f"expected_{each}")]
                first = [size.name, f"`{size.ending}`", _mb(of["source"]), *(f"{of[n]:.0f}" for n in _TIMES)]
                lines.append([*first, f"{speed:,.0f}", pairs[0], _mb(of["peak"] - of["base"]), *pairs[1:]])
    return grid(header, lines)


_TIMES = ("seconds", "processor")


def _mb(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f}"


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    claims = []
    for one in outcomes:
        size = next(size for size in SIZES if (size.name, size.ending) == (one.row, one.setting))
        limit, found = FLAT_BYTES + ROW_BYTES * size.num_rows, one.figures["peak"] - one.figures["base"]
        name = f"{size.name}, `{size.ending}`"
        text = f"{name}: memory beyond that of the libraries"
        claims.append(Claim(text, f"≤ {_mb(limit)} MB", f"{_mb(found)} MB", found <= limit))
        ratios = {what: one.figures[f"expected_{key}"] / max(1, one.figures[key]) for key, what in EXPECTED.items()}
        shown = ", ".join(f"{what} {ratio:.2f}" for what, ratio in ratios.items() if ratio)
        holds = all(1 / FACTOR <= ratio <= FACTOR for ratio in ratios.values() if ratio)
        claims.append(Claim(f"{name}: expected figures", f"measured ones times 1/{FACTOR} to {FACTOR}", shown, holds))
        if "train_peak" in one.figures:
            found, expected = one.figures["train_peak"], one.figures["train_expected_peak"]
            shown = f"{_mb(found)} MB of {_mb(expected)} MB, {one.figures['train_processor']:.0f} processor s"
            text = f"{name}: memory of a training of one epoch, streaming, of what is expected before it starts"
            claims.append(Claim(text, f"≤ {TRUST:g} times", shown, found <= TRUST * expected))
    return claims
