"""Curves of columns: they rise, can be undone, and make of a column what its density expects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch

from vae.data.missing import MissingCompletelyAtRandom
from vae.data.schema import Column, ColumnType, ExampleSpec
from vae.data.statistics import example_spec
from vae.data.transforms import TableTransform
from vae.data.transforms.curves import CurveChoice, Values, curves_of, fit_curve
from vae.data.transforms.units import Units
from vae.metrics.tables import column_distance

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=4000)


class Entries(NamedTuple):
    """Values of a column, and its type."""

    values: Values
    type: ColumnType
    dtype: str = "double"


COLUMNS: Mapping[str, Entries] = {
    "lognormal": Entries(np.exp(NORMAL), "positive"),
    "bimodal": Entries(np.where(NORMAL < 0.3, -3, 3) + 0.3 * RNG.normal(size=4000), "real"),
    "heavy tails": Entries(RNG.standard_t(2, 4000), "real"),
    "many zeros": Entries(np.where(NORMAL < 1, 0, np.exp(NORMAL)), "money"),
    "age": Entries(np.clip(np.round(38 + 13 * NORMAL), 17, 90), "count"),
    "few levels": Entries(RNG.integers(1, 5, 4000).astype(float), "integer"),
    "day": Entries(np.round(RNG.uniform(15_000, 20_000, 4000)) * 86_400, "time", "date32[day]"),
    "percent": Entries(np.round(100 * RNG.beta(2, 1, 4000), 1), "share"),
    "truth": Entries(RNG.integers(2, size=4000).astype(float), "boolean", "bool"),
}


def fitted(name: str, choice: CurveChoice = "auto") -> Column:
    values, kind, dtype = COLUMNS[name]
    extremes = {"smallest": values.min(), "largest": values.max()}
    column = Column(name, mean=values.mean(), std=values.std(), dtype=dtype, type=kind, **extremes)
    return replace(column, curve=fit_curve(values, column, choice))


@pytest.mark.parametrize("choice", ["auto", "parametric"])
@pytest.mark.parametrize("name", COLUMNS)
def test_curves_rise_and_can_be_undone(name: str, choice: CurveChoice) -> None:
    """Each value, also one between those of the training split or beyond them, comes back; a larger one has a larger x."""
    values, column = COLUMNS[name].values, fitted(name, choice)
    units, reach = Units([column]), 9 * values.std()
    is_bounded = column.curve is not None and column.curve.kind in ("log", "logit")
    low, high = (0, 0) if is_bounded else (reach, reach)
    some = torch.linspace(values.min() - low, values.max() + high, 2001, dtype=torch.float64)[:, None]
    x = units.model_numbers(some)
    assert (units.column_values(x) - some).abs().max() <= 1e-9 * (np.abs(values).max() + values.std())
    mass = column.curve.mass[0] if column.curve and column.curve.mass else torch.nan
    assert (x[some != mass].diff() > 0).all()


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "truth"])
def test_normal_numbers_become_the_column(name: str) -> None:
    """Standard normal x, undone and rounded as the column is, are distributed as the entries beside the point mass."""
    values, column = COLUMNS[name].values, fitted(name)
    assert column.curve is not None
    assert column.curve.kind == "quantile"
    if column.curve.mass is not None:
        assert column.curve.mass[0] in (values.min(), values.max())
        values = values[values != column.curve.mass[0]]
    x = torch.from_numpy(RNG.normal(size=(20_000, 1)))
    drawn = TableTransform(ExampleSpec.of_table([column]), [column]).restore(x)[:, 0]
    assert column_distance(drawn, values, None) < 0.03


def test_point_masses_are_exact() -> None:
    """The value that many entries have becomes one number that no other has, also in float32, and comes back exactly."""
    column = fitted("many zeros")
    assert column.curve is not None
    assert column.curve.mass is not None
    value, at = column.curve.mass
    assert value == 0
    transform = TableTransform(ExampleSpec.of_table([column]), [column])
    values = torch.from_numpy(COLUMNS["many zeros"].values)[:, None]
    x, _ = transform.prepare(values)
    assert x[values == 0].unique().tolist() == [at]
    assert (x[values > 0] > at).all()
    assert (transform.restore(x)[:, 0] == 0).sum() == (values == 0).sum()


@pytest.mark.parametrize("choice", ["auto", "parametric"])
@pytest.mark.parametrize("name", COLUMNS)
def test_slopes_are_those_of_the_curve(name: str, choice: CurveChoice) -> None:
    """Log dx/du is the logarithm of a finite difference, everywhere but at the knots."""
    column = fitted(name, choice)
    for _, curves in curves_of([column]):
        x = torch.linspace(-2.9, 2.9, 500, dtype=torch.float64)[:, None]
        step = 1e-6
        difference = (curves.inverse(x + step) - curves.inverse(x - step)) / (2 * step)
        assert ((curves.log_slope(x) + difference.log()).abs() < 1e-4).double().mean() > 0.98


def test_curves_see_what_the_model_sees_and_are_stored(publish_table, tmp_path) -> None:
    """They are fitted to the entries that a run leaves in the training split, and survive JSON to the bit."""
    values = np.exp(NORMAL)
    table = pa.table({"pay": np.concatenate([values, [1e6] * 500]), "other": np.arange(4500.0)})
    columns = [Column("pay", type="money"), Column("other")]
    dataset = publish_table(tmp_path, table, columns, None, {"train": 4000, "test": 500})
    plain, whole = example_spec(dataset), example_spec(dataset, transform="auto")
    hidden = example_spec(dataset, MissingCompletelyAtRandom(share=0.5), "auto")
    assert [one.curve for one in plain.columns or ()] == [None, None]
    assert whole.columns is not None
    assert hidden.columns is not None
    assert whole.columns[0].curve == fit_curve(values, whole.columns[0], "auto")
    assert hidden.columns[0].curve != whole.columns[0].curve
    assert ExampleSpec.from_json(json.loads(json.dumps(asdict(hidden)))) == hidden


def test_columns_that_need_no_curve_have_none() -> None:
    """Categories, constants, and columns of few entries keep what they are."""
    few, constant = NORMAL[:20], np.full(500, 7.0)
    for values, categories in ((few, None), (constant, None), (NORMAL, ("a", "b"))):
        assert fit_curve(values, Column("c", categories), "auto") is None
