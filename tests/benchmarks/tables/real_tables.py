"""Real tables whose last column is to be predicted, split into rows to train, to validate and to test.

Shapes: N rows, D columns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from tests.vae.conftest import _publish_table
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.metrics.tables import Array

DATA = Path(os.environ.get("BETALINE_TEST_DATA", "../shared/data"))
VALIDATION, TEST = 0.15, 0.2
"""Shares of the rows; Adult has a test file of its own."""
ADULT = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
]
ABALONE = [
    "sex",
    "length",
    "diameter",
    "height",
    "whole_weight",
    "shucked_weight",
    "viscera_weight",
    "shell_weight",
    "rings",
]
WINE = [
    "fixed_acidity",
    "volatile_acidity",
    "citric_acid",
    "residual_sugar",
    "chlorides",
    "free_sulfur_dioxide",
    "total_sulfur_dioxide",
    "density",
    "ph",
    "sulphates",
    "alcohol",
]


class RealTable(NamedTuple):
    """Rows of a table, in three splits."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame

    @property
    def categories(self) -> Mapping[str, list[str]]:
        """Names of each categorical column."""
        every = pd.concat(self)
        return {name: sorted(every[name].unique()) for name in every if not pd.api.types.is_numeric_dtype(every[name])}

    @property
    def columns(self) -> list[Column]:
        """Columns of the table; the last one is to be predicted."""
        dtypes = {name: str(dtype) for name, dtype in self.train.dtypes.items()}
        dtypes |= {name: "double" for name, dtype in dtypes.items() if dtype.startswith("float")}
        found = {name: Column(name, tuple(names), dtype="string") for name, names in self.categories.items()}
        return [found.get(name) or Column(name, dtype=dtypes[name]) for name in self.train]

    def values(self, rows: pd.DataFrame) -> Array:
        """Returns rows with categories as codes, [N,D]."""
        columns = [
            pd.Categorical(rows[column.name], column.categories).codes if column.categories else rows[column.name]
            for column in self.columns
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def publish(self, folder: Path) -> Dataset:
        """Publishes the rows to train and to validate as a dataset."""
        rows = pa.Table.from_pandas(pd.concat(self[:2], ignore_index=True), preserve_index=False)
        splits = {"train": len(self.train), "validation": len(self.validation)}
        return _publish_table(folder, rows, self.columns, None, splits, 5_000)


def load(name: str) -> RealTable:
    """Reads a table; its splits are always the same."""
    rows, test = LOADERS[name]()
    order = np.random.default_rng(0).permutation(len(rows))
    if test is None:
        num_test = int(TEST * len(rows))
        test, order = rows.iloc[order[:num_test]], order[num_test:]
    num_validation = int(VALIDATION * len(order))
    parts = (rows.iloc[order[num_validation:]], rows.iloc[order[:num_validation]], test)
    return RealTable(*(part.reset_index(drop=True) for part in parts))


def _read(path: str, names: list[str] | None, **options: object) -> pd.DataFrame:
    rows = pd.read_csv(DATA / path, header=None, names=names, skipinitialspace=True, **options)  # pyright: ignore
    return rows.dropna(how="all")


def _adult() -> tuple[pd.DataFrame, pd.DataFrame | None]:
    train, test = (_read(f"tables/adult-{part}.csv", ADULT, keep_default_na=False) for part in ("train", "test"))
    test["income"] = test["income"].str.rstrip(".")
    return train, test


def _german() -> tuple[pd.DataFrame, pd.DataFrame | None]:
    rows = _read("tables/german.csv", None).rename(columns=lambda number: f"c{number}")
    rows["c20"] = rows["c20"].map({1: "good", 2: "bad"})
    return rows, None


def _numbers(path: str, names: list[str]) -> tuple[pd.DataFrame, None]:
    return _read(path, names), None


LOADERS: Mapping[str, Callable[[], tuple[pd.DataFrame, pd.DataFrame | None]]] = {
    "Adult": _adult,
    "abalone": lambda: _numbers("tables/abalone.csv", ABALONE),
    "German credit": _german,
    "red wine": lambda: _numbers("uci/wine_red.csv", WINE),
    "white wine": lambda: _numbers("uci/wine_white.csv", WINE),
}
