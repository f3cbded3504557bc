"""Metrics of synthetic rows: fresh rows, shuffled columns, a constant and copies of training rows each get their rank."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from vae.config import ModelConfig
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.data.statistics import example_spec
from vae.errors import ConfigError
from vae.metrics.suite import measure
from vae.metrics.synthesis.likeness import MOST_PAIRS, category_coverage, column_shapes, pair_trends
from vae.metrics.synthesis.privacy import membership_auroc, nearer_to_training, nearest_distances, spreads
from vae.metrics.synthesis.usefulness import downstream
from vae.model import VAE

Rows = NDArray[Any]
COLUMNS = (Column("x"), Column("y"), Column("group", tuple("abcd")), Column("side", ("left", "right")))
N = 400


def drawn(seed: int, num_rows: int = N) -> Rows:
    """Returns rows whose columns depend on each other, with a gap in a tenth of the entries of x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=num_rows)
    y = x + 0.3 * rng.normal(size=num_rows)
    group = np.digitize(x + 0.3 * rng.normal(size=num_rows), [-1, 0, 1])
    side = (y + 0.3 * rng.normal(size=num_rows) > 0).astype(float)
    x = np.where(rng.random(num_rows) < 0.1, np.nan, x)
    return np.stack([x, y, group, side], axis=1)


def shuffled(rows: Rows) -> Rows:
    rng = np.random.default_rng(9)
    return np.stack([rng.permutation(values) for values in rows.T], axis=1)


TRAIN, TEST, FRESH = drawn(0), drawn(1), drawn(2)
CONSTANT = np.repeat(FRESH[:1], N, axis=0)
TABLES = {"fresh": FRESH, "shuffled": shuffled(FRESH), "constant": CONSTANT, "copies": TRAIN}


def of_each(metric: object) -> dict[str, float]:
    return {name: metric(made) for name, made in TABLES.items()}  # pyright: ignore[reportCallIssue]


def test_likeness_ranks_fresh_shuffled_and_constant_rows() -> None:
    """A shuffle keeps shapes and loses trends, a constant loses both, fresh rows and copies keep both."""
    shapes = of_each(lambda made: column_shapes(TEST, made, COLUMNS))
    trends = of_each(lambda made: pair_trends(TEST, made, COLUMNS, np.random.default_rng(0)))
    assert shapes["shuffled"] == pytest.approx(shapes["fresh"])
    assert min(shapes["fresh"], shapes["copies"], trends["fresh"], trends["copies"]) > 0.9
    assert trends["shuffled"] < trends["fresh"] - 0.15
    assert shapes["constant"] < 0.6
    assert trends["constant"] < trends["fresh"] - 0.3
    assert column_shapes(TEST, TEST, COLUMNS) == pair_trends(TEST, TEST, COLUMNS, np.random.default_rng(0)) == 1


def test_likeness_is_that_of_sdmetrics_and_of_the_definition() -> None:
    """Shapes are the property of SDMetrics' own report; the trend of a number and a category is that of their counts."""
    from sdmetrics.reports.single_table import QualityReport

    kinds = {c.name: {"sdtype": "categorical" if c.categories else "numerical"} for c in COLUMNS}
    real, made = (rows[~np.isnan(rows).any(1)] for rows in (TEST, shuffled(FRESH)))
    report = QualityReport()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = [pd.DataFrame(t, columns=[*kinds]) for t in (real, made)]
        report.generate(frames[0], frames[1], {"columns": kinds}, verbose=False)
    shapes = report.get_properties().set_index("Property")["Score"]["Column Shapes"]
    assert column_shapes(real, made, COLUMNS) == pytest.approx(shapes)
    edges = np.linspace(real[:, 1].min(), real[:, 1].max(), 11)
    edges[[0, -1]] = -np.inf, np.inf
    one, other = (np.histogram2d(t[:, 1], t[:, 2], [edges, np.arange(5)])[0] / len(t) for t in (real, made))
    trend = pair_trends(real[:, 1:3], made[:, 1:3], COLUMNS[1:3], np.random.default_rng(0))
    assert trend == pytest.approx(1 - np.abs(one - other).sum() / 2)


def test_many_columns_and_categories_are_compared_in_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 columns give 300 pairs, and 300,000 categories a table of the pairs that occur."""
    from sdmetrics.column_pairs import ContingencySimilarity

    cells: list[int] = []
    monkeypatch.setattr(ContingencySimilarity, "compute", lambda real, made, **_: cells.append(len(real)) or 1.0)
    many = tuple(Column(f"c{n}", tuple(map(str, range(300_000)))) for n in range(60))
    codes = np.random.default_rng(0).integers(0, 300_000, (50, 60)).astype(float)
    assert pair_trends(codes, codes, many, np.random.default_rng(0)) == 1
    assert cells == [50] * MOST_PAIRS


def test_coverage_counts_the_categories_that_synthetic_rows_have() -> None:
    """A constant has one of four and one of two categories; fresh rows have all."""
    covered = of_each(lambda made: category_coverage(TEST, made, COLUMNS))
    assert covered == {"fresh": 1, "shuffled": 1, "copies": 1, "constant": (1 / 4 + 1 / 2) / 2}


def test_usefulness_ranks_fresh_shuffled_and_constant_rows() -> None:
    """Models trained on fresh rows do as well as on real ones; on shuffled and constant rows they learn nothing."""
    scores = {name: downstream(made, TRAIN, TEST, COLUMNS) for name, made in TABLES.items()}
    for metric in ("tstr_f1", "tstr_auroc", "tstr_r2"):
        real = scores["fresh"][f"{metric}.real"]
        assert scores["copies"][metric] == real
        assert scores["fresh"][metric] > real - 0.1
        assert max(scores["shuffled"][metric], scores["constant"][metric]) < real - 0.2
    assert scores["constant"]["tstr_auroc"] == 0.5
    alone = downstream(FRESH, TRAIN, TEST, COLUMNS, target=3)
    assert alone.keys() == {"tstr_f1", "tstr_f1.real", "tstr_auroc", "tstr_auroc.real"}


def test_columns_that_nothing_predicts_are_no_targets() -> None:
    """Independent columns leave no score, and neither does a column of many categories."""
    rng = np.random.default_rng(0)
    made, train, test = (rng.normal(size=(N, 2)) for _ in range(3))
    assert downstream(made, train, test, (Column("x"), Column("y"))) == {}
    many = (Column("x"), Column("name", tuple(map(str, range(5000)))))
    codes = rng.integers(0, 5000, N).astype(float)
    rows = np.stack([codes / 5000, codes], axis=1)
    assert downstream(rows, rows, rows, many).keys() <= {"tstr_r2", "tstr_r2.real"}


def test_copies_are_nearer_to_training_and_fresh_rows_are_not() -> None:
    """The share is near one half for fresh rows and nearly 1 for copies; the distance is that of Gower."""
    shares = of_each(lambda made: nearer_to_training(made, TRAIN, TEST, COLUMNS))
    assert abs(shares["fresh"] - 0.5) < 0.1
    assert shares["copies"] > 0.97
    spread_D = np.array([2.0, 4.0, 1.0, 1.0])
    near = nearest_distances(
        np.array([[0.0, 1, 0, 1], [np.nan, 1, 2, 1]]), np.array([[1.0, 1, 1, 1]]), COLUMNS, spread_D
    )
    assert near == pytest.approx([(0.5 + 0 + 1 + 0) / 4, (1 + 0 + 1 + 0) / 4])


def test_membership_shows_where_copies_are_handed_out() -> None:
    """By distance it is near one half for fresh rows and nearly 1 for copies; the area is scikit-learn's."""
    spread_D = spreads(TRAIN)
    areas = of_each(
        lambda made: membership_auroc(*(-nearest_distances(r, made, COLUMNS, spread_D) for r in (TRAIN, TEST)))
    )
    assert abs(areas["fresh"] - 0.5) < 0.1
    assert areas["copies"] > 0.97
    scores = np.random.default_rng(0).integers(0, 5, 40).astype(float)
    expected = roc_auc_score(np.arange(40) < 15, scores)
    assert membership_auroc(scores[:15], scores[15:]) == pytest.approx(expected)


def test_suite_measures_the_rows_that_a_model_draws(people: Dataset) -> None:
    """An untrained model has figures for all that its columns allow, each between 0 and 1 but for R²."""
    config = ModelConfig.model_validate({"encoder": {"kind": "table"}, "likelihood": {"kind": "mixed"}})
    found = measure(VAE(config, example_spec(people)), people, ["synthesis"], split="train")
    assert found["column_shapes.real"] == found["pair_trends.real"] == found["category_coverage.real"] == 1
    assert 0 <= found["column_shapes"] < 1
    assert found["nearer_to_training"] == found["membership_by_score"] == found["membership_by_distance"] == 0.5


def test_missing_extra_is_named(people: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SDMetrics the family is refused with the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = ModelConfig.model_validate({"encoder": {"kind": "table"}, "likelihood": {"kind": "mixed"}})
    with pytest.raises(ConfigError, match=r"pip install 'betaline\[synthesis\]'"):
        measure(VAE(config, example_spec(people)), people, ["synthesis"])
