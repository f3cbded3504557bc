"""A table's columns in the data and in as many draws from the model, and how well the model fills in their gaps.

Shapes: N rows, L latent dimensions, D columns, K categories.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipelines.report import column_charts
from pipelines.report.column_charts import Gap, Marginal
from pipelines.report.evidence import Evidence, LeftOut
from pipelines.report.formats import date_of, minus
from pipelines.report.theme import Plan
from pipelines.report.walks import active, bound_of, set_to
from vae import inference
from vae.data.schema import Column, without_absurd
from vae.data.transforms import transform_of
from vae.data.transforms.times import DAY_SECONDS
from vae.errors import DataError
from vae.inference.answering import abilities
from vae.inference.memory import affordable_rows
from vae.metrics.likelihood import Bound
from vae.metrics.tables import Array, associations, column_distance, observed, shares
from vae.metrics.uses import HIDDEN_SHARE, NUM_SAMPLES, fill_in

SEED = 0
MOST_MARGINALS, MOST_ASSOCIATIONS, MOST_GAPS = 16, 24, 24
MOST_CATEGORIES, BINS = 8, 24
# Reach of a dimension, rows that the change is averaged over, and columns shown.
EFFECT_EXTENT, EFFECT_ROWS, MOST_COLUMNS = 2.0, 200, 24


# --- rows and draws -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Rows and as many draws: numbers in their own units, categories as codes, NaN for missing and absurd values."""

    columns: tuple[Column, ...]
    data: Array
    """Rows, [N,D]."""
    model: Array | None
    """Draws from the model under the conditions of the rows, [N,D]; None if the model cannot draw."""


@lru_cache(maxsize=1)
def compare(evidence: Evidence) -> Comparison | None:
    """Returns the rows of a table and as many draws, which the figures and tables of a page share; None without rows."""
    if evidence.dataset is None or evidence.rows is None or not evidence.num_rows:
        return None
    example, model = evidence.dataset.example, evidence.model
    if not example.columns:
        return None
    drawn, data_ND = None, evidence.rows.values.double().cpu().numpy()
    if model is not None:
        data_ND = without_absurd(data_ND, model.examples.columns or ())
    if model is not None and not evidence.cannot_run:
        condition_NK = evidence.inputs(slice(None)).condition
        x = inference.generate(model, evidence.num_rows, condition_NK, seed=SEED, output="sample")
        drawn = transform_of(model.examples).restore(x).astype(np.float64)
    return Comparison(example.columns, data_ND, drawn)


@dataclass(frozen=True)
class ColumnSummary:
    """One column of the page's table: mean ± standard deviation of numbers, the most frequent of categories."""

    name: str
    kind: str
    missing: str
    """Share of missing entries in the rows, with those that were hidden from the model."""
    data: str
    """Summary of the rows."""
    model: str
    """Summary of the draws; a dash without a model."""
    distance: str
    """Distance between the two distributions, from 0 to 1: see `vae.metrics.tables.column_distance`."""


def columns(evidence: Evidence) -> list[ColumnSummary]:
    """Returns a summary of every column; none for images, or without rows."""
    if (both := compare(evidence)) is None:
        return []
    summaries = []
    for number, column in enumerate(both.columns):
        data_N, model_N = both.data[:, number], None if both.model is None else both.model[:, number]
        summaries.append(
            ColumnSummary(
                name=column.name,
                kind=_kind(column),
                missing=f"{100 * np.isnan(data_N).mean():.0f} %",
                data=_in_words(data_N, column),
                model="–" if model_N is None else _in_words(model_N, column),
                distance="–" if model_N is None else f"{_distance(data_N, model_N, column):.2f}",
            )
        )
    return summaries


def _kind(column: Column) -> str:
    if column.categories is None:
        return "dates" if column.type == "time" else "numbers"
    return f"{len(column.categories)} categories"


def _in_words(values_N: Array, column: Column) -> str:
    values_N = observed(values_N)
    if not len(values_N):
        return "–"
    if column.type == "time":
        return f"{date_of(values_N.mean())} ± {values_N.std() / DAY_SECONDS:.4g} days"
    if column.categories is None:
        return minus(f"{values_N.mean():.4g} ± {values_N.std():.4g}")
    shares_K = shares(values_N, len(column.categories))
    return f"{column.categories[shares_K.argmax()]} ({100 * shares_K.max():.0f} %)"


def _num_categories(column: Column) -> int | None:
    return None if column.categories is None else len(column.categories)


def _distance(data_N: Array, model_N: Array, column: Column) -> float:
    return column_distance(data_N, model_N, _num_categories(column))


def _with_draws(evidence: Evidence) -> tuple[Comparison, Array]:
    """Returns the comparison of a table, and the draws in it."""
    evidence.runnable()
    both = compare(evidence)
    assert both is not None, "a table with rows"
    assert both.model is not None, "a model that can run"
    return both, both.model


# --- marginals ------------------------------------------------------------------------------------------------------


def plan_marginals(evidence: Evidence) -> Plan:
    """Plans the distribution of each column, in the data and from the model."""
    both, model_ND = _with_draws(evidence)
    drawn, total = marginals(both.columns, both.data, model_ND), len(both.columns)
    most = "" if len(drawn) == total else f" These are the {len(drawn)} of {total} columns that differ most."
    rows = f"{evidence.num_rows} {evidence.split} rows"
    return Plan(
        lambda theme: column_charts.marginals(drawn, theme),
        f"Histograms of {len(drawn)} columns: {rows}, and as many drawn from the model.",
        f"Share of rows in percent, over the values of each column in its own unit: {rows}, and as many drawn from the "
        "prior. Values beyond the frame are counted at its edge. Δ is the distance of the two distributions, from 0 to 1: "
        "the largest difference of their cumulative distributions, or half the sum of the differences between the shares "
        f"of the categories.{most}",
    )


def marginals(columns: tuple[Column, ...], data_ND: Array, model_ND: Array) -> list[Marginal]:
    """Returns the distributions of the columns that differ most, in the order of the table."""
    made = []
    for data_N, model_N, column in zip(data_ND.T, model_ND.T, columns, strict=True):
        data, model = observed(data_N), observed(model_N)
        if not len(data):
            continue
        distance = _distance(data_N, model_N, column)
        if column.categories is None:
            edges = bin_edges(data, column)
            bins = _histogram(data, edges), _histogram(model, edges)
            made.append(Marginal(column.name, distance, *bins, edges, are_times=column.type == "time"))
        else:
            made.append(_bars(column.name, distance, column.categories, data, model))
    worst = sorted(made, key=lambda one: -one.distance)[:MOST_MARGINALS]
    return [one for one in made if one in worst]


def bin_edges(values_N: Array, column: Column) -> Array:
    """Returns even bins over all values but one in 200 at either end; bins of whole width for whole numbers."""
    low, high = np.quantile(values_N, [0.005, 0.995])
    if column.dtype.startswith(("int", "uint")):
        width = max(1.0, math.ceil((high - low + 1) / BINS))
        return np.arange(low - 0.5, high + width + 0.5 - 1e-9, width)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _histogram(values_N: Array, edges: Array) -> Array:
    """Returns the share of the values in each bin in percent; values beyond are counted in the first and the last."""
    counts, _ = np.histogram(values_N.clip(edges[0], edges[-1]), edges)
    return 100 * counts / max(1, len(values_N))


def _bars(name: str, distance: float, categories: tuple[str, ...], data_N: Array, model_N: Array) -> Marginal:
    """Returns the shares of the most frequent categories, and of the others together."""
    shares_2K = 100 * np.stack([shares(values_N, len(categories)) for values_N in (data_N, model_N)])
    order = np.argsort(-shares_2K[0], kind="stable")
    first, rest = order[:MOST_CATEGORIES], order[MOST_CATEGORIES:]
    names, bars = [categories[index] for index in first], shares_2K[:, first]
    if len(rest):
        names.append(f"{len(rest)} others")
        bars = np.column_stack([bars, shares_2K[:, rest].sum(1)])
    return Marginal(name, distance, *bars, names=tuple(names))


# --- associations ---------------------------------------------------------------------------------------------------


def plan_associations(evidence: Evidence) -> Plan:
    """Plans how the columns depend on each other, in the draws against the data."""
    both, model_ND = _with_draws(evidence)
    columns = both.columns[:MOST_ASSOCIATIONS]
    if len(columns) < 2:
        raise LeftOut("it takes two columns")
    difference_DD = association_differences(columns, both.data, model_ND)
    measure = "Pearson's r"
    if any(column.categories is not None for column in both.columns):
        measure += "; the correlation ratio η of a number and a category, Cramér's V of two categories"
    far = np.nanmax(np.abs(difference_DD), initial=-1.0)
    largest = f"the largest difference is {far:.2f}" if far >= 0 else "no difference is known"
    few = f" Only the first {len(columns)} of {len(both.columns)} columns." if len(columns) < len(both.columns) else ""
    return Plan(
        lambda theme: column_charts.differences(difference_DD, [column.name for column in columns], theme),
        f"Heat map of the differences of correlations between {len(columns)} columns, {largest}.",
        f"Correlation of each pair of columns among draws from the model, minus that among the {evidence.split} rows that "
        f"have both values ({measure}); {largest}. Zero is best: the columns of an orange pair are more correlated in the "
        f"model than in the data, those of a blue pair less.{few}",
    )


def association_differences(columns: tuple[Column, ...], data_ND: Array, model_ND: Array) -> Array:
    """Returns the associations among the draws minus those among the rows [D,D], NaN on the diagonal."""
    sizes = [_num_categories(column) for column in columns]
    data_DD, model_DD = (associations(part[:, : len(columns)], sizes) for part in (data_ND, model_ND))
    difference_DD = model_DD - data_DD
    np.fill_diagonal(difference_DD, np.nan)
    return difference_DD


# --- gaps -----------------------------------------------------------------------------------------------------------


def plan_imputation(evidence: Evidence) -> Plan:
    """Plans how well the gaps of each column are filled in, against its mean or commonest category."""
    if reason := abilities(evidence.runnable())["impute"]:
        raise LeftOut(reason)
    try:
        errors = gaps(evidence)
    except DataError as nothing_to_hide:
        raise LeftOut(str(nothing_to_hide)) from None
    better, total = sum(gap.error < gap.simple for gap in errors), len(errors)
    shown = sorted(errors, key=lambda gap: gap.error - gap.simple)[:MOST_GAPS]
    rows = affordable_rows(evidence.runnable(), NUM_SAMPLES, evidence.num_rows)
    most = f" These are the {MOST_GAPS} columns in which the model gains most." if total > MOST_GAPS else ""
    return Plan(
        lambda theme: column_charts.imputation(shown, theme),
        f"Error of imputed entries in {total} columns; the model beats the simplest answer in {better}.",
        f"{100 * HIDDEN_SHARE:.0f} % of the observed entries of {rows} {evidence.split} rows were hidden and "
        f"filled in again by the mean of {NUM_SAMPLES} importance samples. Numbers: root mean squared error in standard "
        "deviations of the training split. Categories: share of wrong entries. The diamond is the error of the column's "
        f"mean, or of its commonest category; the model is better in {better} of {total} columns.{most}",
    )


def gaps(evidence: Evidence) -> list[Gap]:
    """Returns the error of each column that had entries hidden, by the protocol of `vae.metrics.uses.fill_in`.

    Raises:
        DataError: If the rows have no entry to hide.
    """
    assert evidence.rows is not None, "callers have a model that can run"
    filled = fill_in(evidence.runnable(), evidence.rows, seed=SEED)
    errors = zip(filled.columns, filled.column_errors(filled.model), filled.column_errors(filled.simple), strict=True)
    return [
        Gap(column.name, column.categories is not None, error, simple)
        for column, error, simple in errors
        if error is not None and simple is not None
    ]


# --- effects of the latent dimensions -------------------------------------------------------------------------------


def plan_effects(evidence: Evidence) -> Plan:
    """Plans what each latent dimension does to the columns of a table."""
    bound = bound_of(evidence)
    effect_LD, dimensions, columns = effects(evidence, bound)
    total = evidence.manifest.example.num_values
    few = f" Only the first {len(columns)} of {total} columns." if len(columns) < total else ""
    measure = "change of the column (standard deviations)"
    return Plan(
        lambda theme: column_charts.heat_map(effect_LD, dimensions, columns, measure, theme),
        f"Heat map of what each of {len(dimensions)} latent dimensions does to {len(columns)} columns.",
        f"How much each column changes while one latent dimension goes from −{EFFECT_EXTENT:g} to {EFFECT_EXTENT:g} "
        "standard deviations of N(0, 1) and the others stay at the posterior's mean; the mean over "
        f"{min(EFFECT_ROWS, evidence.num_rows)} {evidence.split} rows. Changes of numbers are in standard "
        "deviations of the training split; for categories, the change is the share of rows whose most probable category "
        f"changes. The dimensions are sorted by the information that they carry; inactive ones are left out.{few}",
    )


def effects(evidence: Evidence, bound: Bound) -> tuple[Array, list[str], list[str]]:
    """Returns how each latent dimension changes each column [L,D], most informative first, and the names of both."""
    model = evidence.runnable()
    columns = (model.examples.columns or ())[:MOST_COLUMNS]
    order = active(bound)
    answer, _ = set_to(evidence, model, slice(EFFECT_ROWS), order, EFFECT_EXTENT, 2)
    low_NLD, high_NLD = answer.astype(np.float64)[..., : len(columns)].transpose(2, 0, 1, 3)
    is_category = np.array([column.categories is not None for column in columns])
    change_LD = np.where(is_category, low_NLD != high_NLD, high_NLD - low_NLD).mean(0)
    return change_LD, [f"z{dimension}" for dimension in order], [column.name for column in columns]
