"""A table's columns: the rows beside as many that the model draws, and how well the model fills its gaps.

Shapes: N rows, D columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipelines.report import column_charts
from pipelines.report.column_charts import Gap, Marginal
from pipelines.report.evidence import Evidence
from pipelines.report.plan import Plan
from vae import inference
from vae.data.manifest import Column, TableSpec
from vae.data.schema import without_absurd
from vae.errors import DataError
from vae.inference.answering import abilities
from vae.metrics.tables import Array, associations, column_distance, observed, shares
from vae.metrics.uses import HIDDEN_SHARE, fill_in
from vae.parts.likelihoods import restore

SEED = 0
MOST_MARGINALS, MOST_ASSOCIATIONS, MOST_GAPS = 16, 24, 24
MOST_ROWS = 1000
"""In which entries are hidden."""
MOST_CATEGORIES, BINS = 8, 24


# --- rows and draws -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Rows and as many draws, numbers in their own units, categories as codes, NaN where missing or absurd."""

    columns: tuple[Column, ...]
    data: Array
    """[N,D]"""
    model: Array | None
    """[N,D], draws from the model, each told what its row is; None where the model cannot draw."""


@lru_cache(maxsize=1)
def compare(evidence: Evidence) -> Comparison | None:
    """None for images, or without rows. Figures and tables of one page share one draw."""
    if evidence.dataset is None or evidence.rows is None or not evidence.num_rows:
        return None
    example = evidence.dataset.example
    if not isinstance(example, TableSpec):
        return None
    drawn, data_ND = None, evidence.rows.values.double().cpu().numpy()
    if evidence.model is not None and evidence.model.examples.columns is not None:
        data_ND = without_absurd(data_ND, evidence.model.examples.columns)
    if not evidence.cannot_run and evidence.model is not None:
        condition_NK = evidence.inputs(slice(None)).condition
        x = inference.generate(evidence.model, evidence.num_rows, condition_NK, seed=SEED, output="sample")
        drawn = restore(x, evidence.model.examples).double().cpu().numpy()
    return Comparison(example.columns, data_ND, drawn)


@dataclass(frozen=True)
class ColumnSummary:
    """One column, in words. Numbers as mean ± standard deviation in their own unit, categories as the most frequent."""

    name: str
    kind: str
    missing: str
    """Share of the rows, with what was hidden from the model."""
    data: str
    """Of the rows."""
    model: str
    """Of the draws; a dash where there is no model."""
    distance: str
    """Between the two distributions, from 0 to 1: see `vae.metrics.tables.column_distance`."""


def columns(evidence: Evidence) -> list[ColumnSummary]:
    """Of every column; none for images, or without rows."""
    if (found := compare(evidence)) is None:
        return []
    data_ND, model_ND = found.data, found.model
    return [
        ColumnSummary(
            name=column.name,
            kind="numbers" if column.categories is None else f"{len(column.categories)} categories",
            missing=f"{100 * np.isnan(data_ND[:, number]).mean():.0f} %",
            data=_in_words(data_ND[:, number], column),
            model="–" if model_ND is None else _in_words(model_ND[:, number], column),
            distance="–" if model_ND is None else f"{_apart(data_ND[:, number], model_ND[:, number], column):.2f}",
        )
        for number, column in enumerate(found.columns)
    ]


def _in_words(values_N: Array, column: Column) -> str:
    there = observed(values_N)
    if not len(there):
        return "–"
    if column.categories is None:
        return f"{there.mean():.4g} ± {there.std():.4g}".replace("-", "−")
    shares_K = shares(there, len(column.categories))
    return f"{column.categories[shares_K.argmax()]} ({100 * shares_K.max():.0f} %)"


def _apart(data_N: Array, model_N: Array, column: Column) -> float:
    return column_distance(data_N, model_N, None if column.categories is None else len(column.categories))


def _with_draws(evidence: Evidence) -> Comparison | str | None:
    """Rows and draws; or why there are none to draw; or None for images."""
    if not evidence.is_table:
        return None
    found = compare(evidence)
    if reason := evidence.cannot_run:
        return reason
    return "no rows were given" if found is None or found.model is None else found


# --- marginals ------------------------------------------------------------------------------------------------------


def plan_marginals(evidence: Evidence) -> Plan | str | None:
    """The distribution of each column, in the data and from the model."""
    if not isinstance(found := _with_draws(evidence), Comparison):
        return found
    drawn = marginals(found)
    which = "" if len(drawn) == len(found.columns) else f" The {len(drawn)} of {len(found.columns)} that differ most."
    return Plan(
        lambda: column_charts.marginals(drawn),
        f"Histograms of {len(drawn)} columns: {evidence.num_rows} {evidence.split} rows, and as many drawn from the model.",
        f"Share of rows in percent, over each column's values in its own unit: {evidence.num_rows} {evidence.split} rows, "
        "and as many drawn from the prior. What lies beyond the frame is counted at its edge. Δ is the largest difference "
        f"of the two cumulative distributions, of categories half the sum of the differences.{which}",
    )


def marginals(found: Comparison) -> list[Marginal]:
    """Of the columns that differ most, in the order of the table."""
    assert found.model is not None, "callers ask first"
    made = []
    for data_N, model_N, column in zip(found.data.T, found.model.T, found.columns, strict=True):
        data, model = observed(data_N), observed(model_N)
        if not len(data):
            continue
        apart = _apart(data_N, model_N, column)
        if column.categories is None:
            edges = bin_edges(data, column)
            made.append(Marginal(column.name, apart, _histogram(data, edges), _histogram(model, edges), edges=edges))
        else:
            made.append(_bars(column, apart, *(shares(part, len(column.categories)) for part in (data, model))))
    worst = sorted(made, key=lambda one: -one.distance)[:MOST_MARGINALS]
    return [one for one in made if one in worst]


def bin_edges(values_N: Array, column: Column) -> Array:
    """Even bins over all but one in 200 of the values at either end; of whole numbers, bins of whole width."""
    low, high = np.quantile(values_N, [0.005, 0.995])
    if column.dtype.startswith(("int", "uint")):
        width = max(1.0, math.ceil((high - low + 1) / BINS))
        return np.arange(low - 0.5, high + width + 0.5 - 1e-9, width)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _histogram(values_N: Array, edges: Array) -> Array:
    """Share of the values in each bin, in percent; what lies beyond is counted in the first and the last."""
    counts, _ = np.histogram(values_N.clip(edges[0], edges[-1]), edges)
    return 100 * counts / max(1, len(values_N))


def _bars(column: Column, apart: float, data: Array, model: Array) -> Marginal:
    """The most frequent categories, and the rest as one."""
    assert column.categories is not None
    order = np.argsort(-data, kind="stable")
    names = [column.categories[index] for index in order[:MOST_CATEGORIES]]
    heights = [100 * part[order[:MOST_CATEGORIES]] for part in (data, model)]
    if len(order) > MOST_CATEGORIES:
        names.append(f"{len(order) - MOST_CATEGORIES} others")
        rest = order[MOST_CATEGORIES:]
        heights = [np.append(shown, 100 * part[rest].sum()) for shown, part in zip(heights, (data, model), strict=True)]
    return Marginal(column.name, apart, *heights, names=tuple(names))


# --- associations ---------------------------------------------------------------------------------------------------


def plan_associations(evidence: Evidence) -> Plan | str | None:
    """How the columns depend on each other, in the draws against the data."""
    if not isinstance(found := _with_draws(evidence), Comparison):
        return found
    if len(found.columns) < 2:
        return "it takes two columns"
    shown, names = association_differences(found)
    kinds = {column.categories is None for column in found.columns}
    measure = "Pearson's r"
    if False in kinds:
        measure += "; the correlation ratio η of a number and a category, Cramér's V of two categories"
    first = f" The first {len(names)} of {len(found.columns)} columns." if len(names) < len(found.columns) else ""
    far = f"the largest is {np.nanmax(np.abs(shown)):.2f}" if np.isfinite(shown).any() else "none is known"
    return Plan(
        lambda: column_charts.differences(shown, names),
        f"Heat map of the differences of correlations between {len(names)} columns, {far}.",
        f"Correlation of each pair of columns among draws from the model, minus that among the {evidence.split} rows that "
        f"have both ({measure}); {far}. Zero is best: orange pairs hang together more in the model, blue ones less.{first}",
    )


def association_differences(found: Comparison) -> tuple[Array, list[str]]:
    """Associations among the draws minus those among the rows [D,D], NaN on the diagonal, and the columns' names."""
    assert found.model is not None, "callers ask first"
    shown = found.columns[:MOST_ASSOCIATIONS]
    sizes = [None if column.categories is None else len(column.categories) for column in shown]
    data_DD, model_DD = (associations(part[:, : len(shown)], sizes) for part in (found.data, found.model))
    difference_DD = model_DD - data_DD
    np.fill_diagonal(difference_DD, np.nan)
    return difference_DD, [column.name for column in shown]


# --- gaps -----------------------------------------------------------------------------------------------------------


def plan_imputation(evidence: Evidence) -> Plan | str | None:
    """How well each column's gaps are filled, against its mean or commonest category."""
    if not evidence.is_table:
        return None
    if reason := evidence.cannot_run:
        return reason
    assert evidence.model is not None, "it can run"
    if reason := abilities(evidence.model)["impute"]:
        return reason
    try:
        found = gaps(evidence)
    except DataError as nothing_to_hide:
        return str(nothing_to_hide)
    better = sum(gap.error < gap.simple for gap in found)
    rows = min(evidence.num_rows, MOST_ROWS)
    shown = sorted(found, key=lambda gap: gap.error - gap.simple)[:MOST_GAPS]
    most = f" The {MOST_GAPS} columns in which it gains most." if len(found) > MOST_GAPS else ""
    return Plan(
        lambda: column_charts.imputation(shown),
        f"Error of imputed entries in {len(found)} columns; the model beats the simplest answer in {better}.",
        f"{100 * HIDDEN_SHARE:.0f} % of what is there of {rows} {evidence.split} rows was hidden and filled in again, by "
        "the mean of 100 importance samples. Numbers: root mean squared error in standard deviations of the training "
        "split. Categories: share that is wrong. Beside it what each column's mean, or its commonest category, comes to; "
        f"the model is better in {better} of {len(found)} columns.{most}",
    )


def gaps(evidence: Evidence) -> list[Gap]:
    """Of each column of which something was hidden, by the protocol of `vae.metrics.uses.fill_in`.

    Raises:
        DataError: If nothing is there to hide.
    """
    model = evidence.model
    assert model is not None, "callers ask first"
    assert evidence.rows is not None, "callers ask first"
    filled = fill_in(model, evidence.rows.take(slice(MOST_ROWS)), seed=SEED)
    errors = zip(filled.columns, filled.column_errors(filled.model), filled.column_errors(filled.simple), strict=True)
    return [
        Gap(column.name, column.categories is not None, error, simple)
        for column, error, simple in errors
        if error is not None and simple is not None
    ]
