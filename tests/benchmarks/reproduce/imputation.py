"""Missing entries of UCI tables (Mattei & Frellsen, MIWAE, 2019, section 4.2. https://arxiv.org/abs/1812.02633).

Shapes: N rows, D columns, M imputations, B rows at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch

from tests.benchmarks.evidence import by_seed, paired_claim
from tests.benchmarks.page import Claim, Table, grid, read_words, summary
from tests.benchmarks.reproduce.baselines import BASELINES, KNN, MEAN, NEIGHBOURS, RIDGE, TREES, TUNING_ROWS, completed  # noqa: F401
from tests.benchmarks.reproduce.incomplete import MIXED, Values, complete_table, hidden, publish, scores
from tests.benchmarks.work import Budget, Figures, Job, Outcome, device, inputs_of, train
from vae.config import override
from vae.config.presets import preset
from vae.data.batches import InOrder, Share
from vae.data.parquet import Dataset
from vae.data.transforms import transform_of
from vae.inference import impute, impute_many
from vae.inference.importance import LEAST_EFFECTIVE_DRAWS
from vae.metrics.imputation import interval_coverage
from vae.model import VAE
from vae.parts.terms import Inputs

NUM_IMPUTATIONS, LEVEL = 99, 0.9
COVERAGE = (0.88, 0.92)
"""Target share of hidden numbers within the intervals."""
MOST_FEW_DRAWS = 0.05
"""Largest share of rows with too few effective draws."""
OURS, OURS_WITHOUT = "MIWAE (ours)", "MVAE (ours, K=1)"
PUBLISHED = {
    OURS: (0.280, 0.643, 0.735),
    OURS_WITHOUT: (0.318, 0.686, 0.782),
    TREES: (0.291, 0.697, 0.798),
    KNN: (0.831, 0.981, 0.929),
    MEAN: (1.0, 1.0, 1.0),
}
"""Mean squared errors of the paper's table°; its trees are missForest's."""
STANDARD_ERROR = {"breast": 0.021, "red wine": 0.026, "white wine": 0.033}
"""Standard errors of the paper's MIWAE°."""


@dataclass(frozen=True)
class Settings:
    """Limits of a budget."""

    seeds: int
    epochs: Mapping[str, int]
    """Epochs for each table and pattern of holes to run; see `incomplete` for the names."""
    draws: int
    """Importance samples L of a conditional mean."""
    trees: int
    """Trees of each extra-trees regression."""
    rows: tuple[str, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables of the paper."""
        return tuple(name for name in self.epochs if "," not in name)

    @property
    def others(self) -> tuple[str, ...]:
        """Further patterns and shares of holes, and a table with categories."""
        return tuple(name for name in self.epochs if "," in name)


ROWS = (OURS, OURS_WITHOUT, MEAN, KNN, RIDGE, TREES)
EPOCHS = {
    "breast": 400,
    "red wine": 200,
    "white wine": 40,
    "breast, 10 %": 350,
    "breast, 90 %": 35,
    "red wine, 10 %": 200,
    "red wine, 90 %": 50,
    "white wine, 10 %": 40,
    "white wine, 90 %": 20,
    "breast, MAR": 200,
    "breast, MNAR": 400,
    "red wine, MAR": 100,
    "red wine, MNAR": 200,
    MIXED: 200,
}
SMOKE_EPOCHS = dict.fromkeys(("breast", "breast, 90 %", "breast, MAR", "breast, MNAR", MIXED), 3)
FULL_EPOCHS = {**EPOCHS, **dict.fromkeys(("breast", "red wine", "white wine"), 600)}
CPU_ROWS = tuple(row for row in ROWS if row != OURS_WITHOUT)
BUDGETS: dict[Budget, Settings] = {
    "smoke": Settings(seeds=1, epochs=SMOKE_EPOCHS, draws=20, trees=5, rows=ROWS),
    "cpu": Settings(seeds=5, epochs=EPOCHS, draws=1000, trees=30, rows=CPU_ROWS),
    "full": Settings(seeds=5, epochs=FULL_EPOCHS, draws=1000, trees=100, rows=ROWS),
}


def table(budget: Budget, home: Path, num_seeds: int | None) -> Table:
    """Returns the table of mean squared errors."""
    settings = BUDGETS[budget]
    epochs = ", ".join(f"{number} epochs ({name})" for name, number in settings.epochs.items())
    values = {
        "settings": settings,
        "percent": 100 * LEVEL,
        "epochs": epochs,
        "neighbours": ", ".join(map(str, NEIGHBOURS)),
    }
    words = read_words("imputation", globals() | values).for_budget(budget)
    jobs = list(_jobs(settings, num_seeds))
    return Table(words, jobs, partial(render, settings), partial(claims, settings))


def _jobs(settings: Settings, num_seeds: int | None) -> Iterator[Job]:
    """Yields the jobs; those of white wine take longest, and so begin first."""
    for name, epochs in settings.epochs.items():
        weight = complete_table(name).values.size * epochs / 1e6
        for seed in range(num_seeds or settings.seeds):
            for row in _rows(settings, name):
                if row in BASELINES:
                    yield Job(row, name, seed, partial(impute_by_baseline, name, seed, row, settings), weight / 10)
                else:
                    changes = {} if row == OURS else {"objective.bound": {"kind": "elbo"}}
                    work = partial(impute_by_model, name, seed, settings, changes)
                    yield Job(row, name, seed, work, weight if row == OURS else weight / 3)


def _rows(settings: Settings, name: str) -> tuple[str, ...]:
    """Returns the rows of a table. Baselines have no intervals, which other shares of holes are measured for."""
    if name.endswith("%"):
        return (OURS,)
    if name == MIXED:  # the codes of a category are missing together, so regressions have no predictor among them
        return (OURS, MEAN, KNN)
    return tuple(row for row in settings.rows if name in settings.tables or row != OURS_WITHOUT)


# --- betaline -------------------------------------------------------------------------------------------------------


def impute_by_model(name: str, seed: int, settings: Settings, changes: Mapping[str, Any]) -> Figures:
    """Trains on what is observed and imputes the rest."""
    table = complete_table(name)
    missing_ND = hidden(name, table, seed)
    run: dict[str, Any] = {
        **changes,
        "training.epochs": settings.epochs[name],
        "training.patience_epochs": None,
        "training.aggregate_components": 0,
        "training.seed": seed,
    }
    config = override(preset("miwae"), run, "the benchmark")
    with tempfile.TemporaryDirectory() as folder:
        dataset = publish(table, missing_ND, Path(folder))
        model = train(config, dataset, last=True).model
        mean_ND, draws_MND, effective_N = imputations(model, dataset, settings.draws, seed)
    numeric = np.array([count == 0 for count in table.num_categories])
    truth_ND, hidden_ND = table.values[:, numeric], missing_ND[:, numeric]
    coverage = interval_coverage(truth_ND, draws_MND[..., numeric], hidden_ND, level=LEVEL).coverage
    few = float((effective_N < LEAST_EFFECTIVE_DRAWS).mean())
    return {**scores(table, mean_ND, missing_ND), "coverage": coverage, "few draws": few}


def imputations(
    model: VAE, dataset: Dataset, num_draws: int, seed: int, split: str = "train"
) -> tuple[Values, Values, Values]:
    """Returns conditional means [N,D], multiple imputations [M,N,D] in the columns' units, and effective draws [N].

    The effective number of draws is the smaller one of both.
    """
    means, many, effective = [], [], []
    for number, batch in enumerate(InOrder(Share.of(dataset, split, device=device()), batch_size=512)):
        inputs: Inputs = inputs_of(model, batch, seed)
        mean = impute(model, inputs, num_samples=num_draws, seed=seed + number)
        drawn = impute_many(model, inputs, NUM_IMPUTATIONS, num_samples=num_draws, seed=seed + number)
        means.append(transform_of(model.examples).in_units(mean.mean))
        many.append(transform_of(model.examples).in_units(drawn.values).movedim(1, 0))
        effective.append(torch.minimum(mean.effective_draws, drawn.effective_draws))
    mean_ND, many_MND, effective_N = torch.cat(means), torch.cat(many, 1), torch.cat(effective)
    return mean_ND.double().cpu().numpy(), many_MND.double().cpu().numpy(), effective_N.double().cpu().numpy()


def impute_by_baseline(name: str, seed: int, row: str, settings: Settings) -> Figures:
    """Imputes with scikit-learn."""
    table = complete_table(name)
    missing_ND = hidden(name, table, seed)
    seen_ND = np.where(missing_ND, np.nan, table.values)
    imputed_ND = completed(row, seen_ND, table.num_categories, seed, settings.trees)
    return scores(table, imputed_ND, missing_ND)


# --- the page -------------------------------------------------------------------------------------------------------


def values_of(outcomes: Sequence[Outcome], row: str, setting: str, figure: str = "mse") -> list[float]:
    """Returns a figure over the seeds."""
    return list(by_seed(outcomes, row, figure, setting).values())


def render(settings: Settings, outcomes: Sequence[Outcome]) -> str:
    """Returns four tables: the paper's; other patterns; intervals; categories."""

    def cells(row: str, name: str, *figures: str) -> list[str]:
        return [summary(values_of(outcomes, row, name, figure), 3) for figure in figures]

    header = ["", *(f"{name}, {what}" for name in settings.tables for what in ("published", "here"))]
    first = [
        [row, *(text for name in settings.tables for text in (_published(row, name), *cells(row, name, "mse")))]
        for row in settings.rows
    ]
    patterns = [name for name in settings.others if name.endswith(("MAR", "MNAR"))]
    rows = [row for row in settings.rows if row != OURS_WITHOUT]
    names = (*settings.tables, *settings.others)
    return "\n\n".join(
        [
            "Missing completely at random:",
            grid(header, first),
            "Missing at random, and not at random (no published figures):",
            grid(
                ["", *patterns],
                [[row, *(text for name in patterns for text in cells(row, name, "mse"))] for row in rows],
            ),
            f"Share of hidden numbers within the central {100 * LEVEL:.0f} % of {NUM_IMPUTATIONS} imputations (ours), and "
            f"share of rows with fewer than {LEAST_EFFECTIVE_DRAWS:.0f} effective draws:",
            grid(
                ["table", "coverage", "few draws", "mean squared error"],
                [[name, *cells(OURS, name, "coverage", "few draws", "mse")] for name in names],
            ),
            "Numbers and categories, half of them missing completely at random:",
            grid(
                ["", "RMSE of the 20 numbers", "accuracy of the 11 categories"],
                [[row, *cells(row, MIXED, "rmse", "accuracy")] for row in _rows(settings, MIXED)],
            ),
        ]
    )


def _published(row: str, name: str) -> str:
    return f"{PUBLISHED[row][list(STANDARD_ERROR).index(name)]:.3f}°" if row in PUBLISHED else ""


def claims(settings: Settings, outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims on what was run: the published error is reached, every baseline is beaten, intervals hold.

    A baseline is compared by the differences of equal seeds. Baselines nearer to the truth come first.
    """
    ran = {outcome.setting for outcome in outcomes if outcome.row == OURS}
    names = [name for name in (*settings.tables, *settings.others) if name in ran]
    against = [claim for name in names if name != MIXED for claim in _against(settings, outcomes, name, "mse", "below")]
    if MIXED in ran:
        against += _against(settings, outcomes, MIXED, "rmse", "below")
        against += _against(settings, outcomes, MIXED, "accuracy", "above")
    published = [_as_published(outcomes, name) for name in settings.tables if name in ran]
    return [*sorted(against, key=lambda claim: claim.holds is not False), *published, *_coverages(outcomes, names)]


def _against(
    settings: Settings, outcomes: Sequence[Outcome], name: str, figure: str, side: Literal["above", "below"]
) -> list[Claim]:
    """Returns a claim for each baseline on one table, by a figure that is better on one side."""
    out = []
    for other in _rows(settings, name):
        text = f"{name}: {figure} of MIWAE {side} that of {other}, paired by seed"
        ours, theirs = (by_seed(outcomes, row, figure, name) for row in (OURS, other))
        if other != OURS and (claim := paired_claim(text, ours, theirs, side)):
            out.append(claim)
    return out


def _as_published(outcomes: Sequence[Outcome], name: str) -> Claim:
    ours = fmean(values_of(outcomes, OURS, name))
    target = float(_published(OURS, name).rstrip("°")) + STANDARD_ERROR[name]
    text = f"{name}: MIWAE within one standard error of the published figure, or better"
    return Claim(text, f"≤ {target:.3f}", f"{ours:.3f}", ours <= target)


def _coverages(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[Claim]:
    """Returns a claim on the coverage of the intervals, and one on the effective draws, for each table."""
    out, (low, high) = [], COVERAGE
    for name in names:
        coverage, few = (fmean(values_of(outcomes, OURS, name, figure)) for figure in ("coverage", "few draws"))
        text = f"{name}: coverage of the {100 * LEVEL:.0f} % intervals"
        out.append(Claim(text, f"{low} to {high}", f"{coverage:.3f}", low <= coverage <= high))
        text = f"{name}: share of rows with fewer than {LEAST_EFFECTIVE_DRAWS:.0f} effective draws"
        out.append(Claim(text, f"≤ {MOST_FEW_DRAWS}", f"{few:.3f}", few <= MOST_FEW_DRAWS))
    return out
