"""Tables with entries hidden on purpose, by the name of the table and the pattern of its holes: `breast` has half of its
entries hidden completely at random, `breast, 90 %` nine in ten, `breast, MAR` half of them at random.

The files are read from BETALINE_TEST_DATA (default `../shared/data` beside the checkout), folders `uci` and `tables`.

Shapes: N rows, D columns.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tests.benchmarks.ingest import data_folder
from tests.vae.conftest import _publish_table
from vae.data.missing import MissingAtRandom, MissingNotAtRandom, fit_logistic
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.metrics.imputation import imputation_accuracy, imputation_rmse

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

MISSING_SHARE = 0.5
"""Share of hidden entries, unless the name of a table gives another."""
MIXED = "breast, mixed"
CODED = {"Adult": "adult-train.csv", "German credit": "german.csv", "abalone": "abalone.csv"}
"""Files of tables with numbers and categories."""
MOST_ROWS = 10_000
"""Rows of a file of `CODED` that are read: the first ones without gaps."""


class Complete(NamedTuple):
    """A table without holes."""

    values: Values
    """[N,D]; categories as codes."""
    num_categories: tuple[int, ...]
    """Number of categories of each column, 0 for numbers."""


def complete_table(name: str) -> Complete:
    """Loads a table by its name, without holes."""
    source = name.split(",")[0]
    if source == "breast":
        from sklearn.datasets import load_breast_cancer

        data: Any = load_breast_cancer()
        values_ND = np.asarray(data.data, np.float64)
        return (
            _with_categories(values_ND, np.asarray(data.target, np.float64))
            if name == MIXED
            else Complete(values_ND, (0,) * 30)
        )
    if source in CODED:
        return _read_coded(data_folder().parent / "tables" / CODED[source])
    file = data_folder().parent / "uci" / f"wine_{source.removesuffix(' wine')}.csv"
    values_ND = np.loadtxt(file, delimiter=",")
    return Complete(values_ND, (0,) * values_ND.shape[1])


def _read_coded(file: Path) -> Complete:
    """Returns the first complete rows of a file without header; texts, and columns of two values, are categories."""
    lines = [[field.strip() for field in line.split(",")] for line in file.read_text().splitlines()]
    columns = list(zip(*[line for line in lines if "?" not in line][:MOST_ROWS], strict=True))
    values, counts = [], []
    for column in columns:
        names, code_N = np.unique(column, return_inverse=True)
        is_number = all(name.replace(".", "", 1).isdigit() for name in names) and len(names) > 2
        values.append(np.array(column, np.float64) if is_number else code_N.astype(np.float64))
        counts.append(0 if is_number else len(names))
    return Complete(np.column_stack(values), tuple(counts))


def _with_categories(values_ND: Values, diagnosis_N: Values) -> Complete:
    """Returns breast cancer with its last ten columns, `worst`, as low, middle or high, and the diagnosis."""
    worst_ND = values_ND[:, 20:]
    thirds_ND = (worst_ND > np.quantile(worst_ND, 1 / 3, axis=0)).astype(float)
    thirds_ND += worst_ND > np.quantile(worst_ND, 2 / 3, axis=0)
    return Complete(np.column_stack([values_ND[:, :20], thirds_ND, diagnosis_N]), (0,) * 20 + (3,) * 10 + (2,))


def missing_share(name: str) -> float:
    """Returns the share of entries that are hidden: the percentage that the name ends with, or `MISSING_SHARE`."""
    return float(name.split(",")[1].removesuffix("%")) / 100 if name.endswith("%") else MISSING_SHARE


def hidden(name: str, table: Complete, seed: int) -> Mask:
    """Returns which entries are hidden, bool [N,D], by the pattern that the name ends with."""
    values_ND = table.values
    share: float | Values = missing_share(name)
    if name.endswith(("MAR", "MNAR")):
        kind = MissingNotAtRandom if name.endswith("MNAR") else MissingAtRandom
        with tempfile.TemporaryDirectory() as folder:
            whole = publish(table, np.zeros(values_ND.shape, bool), Path(folder))
            logistic = fit_logistic(whole, kind(share=MISSING_SHARE))
        assert logistic is not None, "neither is completely at random"
        share = logistic.probability(values_ND.astype(np.float32))
    return np.random.default_rng(seed).random(values_ND.shape) < share


def scores(table: Complete, imputed_ND: Values, missing_ND: Mask) -> dict[str, float]:
    """Returns the errors of the hidden numbers, and the accuracy of the hidden categories if there are any."""
    numeric = np.array([count == 0 for count in table.num_categories])
    truth_ND = table.values[:, numeric]
    found = imputation_rmse(truth_ND, imputed_ND[:, numeric], missing_ND[:, numeric], truth_ND.std(0))
    figures = {"mse": found.mse, "rmse": found.rmse}
    if not numeric.all():
        ours, theirs = imputed_ND[:, ~numeric], table.values[:, ~numeric]
        figures["accuracy"] = imputation_accuracy(theirs, ours, missing_ND[:, ~numeric]).accuracy
    return figures


def publish(table: Complete, missing_ND: Mask, folder: Path, num_test: int = 1) -> Dataset:
    """Publishes all rows without their hidden entries as the training split, and the first again to validate and test."""
    columns, specs = {}, []
    for d, count in enumerate(table.num_categories):
        names = tuple(f"{code:02d}" for code in range(count))
        values: Any = np.array(names)[table.values[:, d].astype(int)] if count else table.values[:, d]
        columns[f"x{d}"] = pa.array(values, mask=missing_ND[:, d])
        specs.append(Column(f"x{d}", names or None, dtype="string" if count else "double"))
    rows = pa.table(columns)
    splits = {"train": rows.num_rows, "validation": 64, "test": num_test}
    every = pa.concat_tables([rows.slice(0, count) for count in splits.values()]).combine_chunks()
    return _publish_table(folder, every, specs, None, splits)
