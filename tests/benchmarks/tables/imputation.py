"""Imputation of mixed tables, 30 % of whose entries are missing completely at random.

Shapes: N rows, D columns, M imputations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from tests.benchmarks.evidence import by_seed, paired_claim
from tests.benchmarks.page import Claim, Table, grid, read_words, summary
from tests.benchmarks.reproduce.baselines import KNN, MEAN, RIDGE, completed, forest_completed, ridge_draws
from tests.benchmarks.reproduce.imputation import COVERAGE, LEVEL, imputations
from tests.benchmarks.reproduce.incomplete import Complete, Values, complete_table, hidden, publish, scores
from tests.benchmarks.work import Figures, Job, Outcome, train
from vae.config import override
from vae.config.presets import preset
from vae.inference.importance import LEAST_EFFECTIVE_DRAWS
from vae.metrics.imputation import interval_coverage

TABLES = ("Adult", "German credit", "abalone", "red wine", "white wine")
SEEDS = (0, 1, 2)
PRESETS = ("miwae", "table_vae")
FOREST = "missForest, extra-trees"
OTHERS = (MEAN, KNN, RIDGE, FOREST)
ROWS_SEEN, MOST_EPOCHS = 100_000, 100
"""Rows that a model is trained on, counted once for each epoch, and the largest number of epochs."""
SCORED_ROWS, DRAWS, IMPUTATIONS, TREES, ROUNDS = 500, 100, 19, 50, 3
RIDGE_ROWS = 3_000
"""Rows that the ridge regressions are fitted to at most, for the time."""
WORDS = {"error": "error of numbers", "wrong": "wrong categories"}
FIGURES = {
    "error": "Error of numbers (normalised RMSE, the mean of the columns)",
    "wrong": "Share of wrong categories",
    "coverage": f"Share of hidden numbers within the {100 * LEVEL:.0f} % intervals",
    "width": f"Mean width of the {100 * LEVEL:.0f} % intervals, in standard deviations of the columns",
    "few draws": f"Share of rows with fewer than {LEAST_EFFECTIVE_DRAWS:.0f} effective draws",
}


def table(home: Path, num_seeds: int | None) -> Table:
    """Returns the table to fill in."""
    jobs = [
        Job(row, name, seed, partial(measure, row, name, seed), weight=5.0 * (name == TABLES[0]) + (row in PRESETS))
        for name in TABLES
        for row in (*PRESETS, *OTHERS)
        for seed in SEEDS[:num_seeds]
    ]
    return Table(read_words("tables-imputation", globals()), jobs, _render, _claims)


def measure(row: str, name: str, seed: int) -> Figures:
    """Imputes one table by one method; returns the errors of the first rows' hidden entries, and what intervals hold."""
    table, name = complete_table(name), f"{name}, 30 %"
    missing_ND = hidden(name, table, seed)
    first = table._replace(values=table.values[:SCORED_ROWS])
    if row in PRESETS:
        imputed_ND, draws_MND, few = _by_model(row, table, missing_ND, seed)
    else:
        seen_ND = np.where(missing_ND, np.nan, table.values)
        imputed_ND, draws_MND, few = *_by_other(row, seen_ND, table.num_categories, seed), {}
    missing_ND = missing_ND[:SCORED_ROWS]
    errors = scores(first, imputed_ND, missing_ND)
    figures = {"error": errors["rmse"], **few}
    if "accuracy" in errors:
        figures["wrong"] = 1 - errors["accuracy"]
    return figures if draws_MND is None else {**figures, **_intervals(first, draws_MND, missing_ND)}


def _by_model(name: str, table: Complete, missing_ND: np.ndarray, seed: int) -> tuple[Values, Values, Figures]:
    """Trains a preset on what is observed of all rows, and imputes the first ones."""
    changes = {
        "training.epochs": min(MOST_EPOCHS, ROWS_SEEN // len(table.values)),
        "training.patience_epochs": None,
        "training.aggregate_components": 0,
        "training.seed": seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        dataset = publish(table, missing_ND, Path(folder), SCORED_ROWS)
        model = train(override(preset(name), changes, "the benchmark"), dataset, last=True).model
        imputed_ND, draws_MND, effective_N = imputations(model, dataset, DRAWS, seed, "test")
    return imputed_ND, draws_MND[:IMPUTATIONS], {"few draws": float((effective_N < LEAST_EFFECTIVE_DRAWS).mean())}


def _by_other(row: str, seen_ND: Values, counts: Sequence[int], seed: int) -> tuple[Values, Values | None]:
    if row == FOREST:
        return forest_completed(seen_ND, counts, seed, TREES, ROUNDS)[:SCORED_ROWS], None
    seen_ND = seen_ND[:RIDGE_ROWS] if row == RIDGE else seen_ND
    imputed_ND = completed(row, seen_ND, counts, seed, TREES, SCORED_ROWS)
    return imputed_ND, ridge_draws(seen_ND, counts, seed, IMPUTATIONS, SCORED_ROWS) if row == RIDGE else None


def _intervals(table: Complete, draws_MND: Values, missing_ND: np.ndarray) -> dict[str, float]:
    """Returns the share of hidden numbers within the intervals, and their width in the columns' standard deviations."""
    numeric = np.array([count == 0 for count in table.num_categories])
    truth_ND, draws_MND, missing_ND = table.values[:, numeric], draws_MND[..., numeric], missing_ND[:, numeric]
    coverage = interval_coverage(truth_ND, draws_MND, missing_ND, level=LEVEL).coverage
    low_ND, high_ND = np.quantile(draws_MND, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="weibull")
    width_ND = (high_ND - low_ND) / truth_ND.std(0)
    return {"coverage": coverage, "width": float(width_ND[missing_ND].mean())}


def _render(outcomes: Sequence[Outcome]) -> str:
    """Returns a table of the errors, and one of the intervals."""

    def cells(row: str, figure: str) -> list[str]:
        return [summary([*by_seed(outcomes, row, figure, name).values()], 3) or "–" for name in TABLES]

    with_draws = [row for row in (*PRESETS, *OTHERS) if any(o.row == row and "width" in o.figures for o in outcomes)]
    parts = []
    for figure, words in FIGURES.items():
        rows = with_draws if figure in ("coverage", "width", "few draws") else (*PRESETS, *OTHERS)
        parts += [f"{words}:", grid(("", *TABLES), [[row, *cells(row, figure)] for row in rows])]
    return "\n\n".join(parts)


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims that a preset errs less than each other method, those refuted first, and that intervals hold."""
    against = [
        claim
        for row in PRESETS
        for name in TABLES
        for figure in ("error", "wrong")
        for other in OTHERS
        if (claim := _against(outcomes, row, other, name, figure))
    ]
    holding, (low, high) = [], COVERAGE
    for row in PRESETS:
        for name in TABLES:
            if found := by_seed(outcomes, row, "coverage", name):
                mean = fmean(found.values())
                text = f"{name}: coverage of the {100 * LEVEL:.0f} % intervals of {row}"
                holding.append(Claim(text, f"{low} to {high}", f"{mean:.3f}", low <= mean <= high))
    return [*sorted(against, key=lambda claim: claim.holds is not False), *holding]


def _against(outcomes: Sequence[Outcome], row: str, other: str, name: str, figure: str) -> Claim | None:
    ours, theirs = (by_seed(outcomes, one, figure, name) for one in (row, other))
    return paired_claim(f"{name}: {WORDS[figure]} of {row} below that of {other}", ours, theirs, "below")
