"""What a search found, on the page: its figures' plans, and the rows of its table."""

from __future__ import annotations

from typing import Any

from pipelines.report import search_charts, wording
from pipelines.report.evidence import Evidence
from pipelines.report.plan import Plan
from tuning.frontier import Trial, pareto


def plan_frontier(evidence: Evidence) -> Plan | str:
    """The rate–distortion plane of the trials."""
    if not evidence.trials:
        return "the configuration was not searched for"
    trials, chosen = _scored(evidence), evidence.chosen
    if not trials:
        return f"none of the {len(evidence.trials)} trials came to a result"
    caption = "Each point is a trial at its last epoch on validation data."
    if len({wording.beta_of(trial) for trial in trials}) > 1:
        caption += " Colour is β."
    if len({wording.architecture_of(trial) for trial in trials}) > 1:
        caption += " Shape is the architecture."
    if any(trial.status != "finished" for trial in trials):
        caption += " Hollow points did not train to the end."
    if chosen is not None:
        caption += " Points on the dotted line have the chosen trial's bound; points below it would be better."
    num_dimensions = None if evidence.dataset is None else evidence.dataset.example.num_values
    return Plan(
        lambda: search_charts.frontier(trials, chosen, num_dimensions),
        f"Rate against distortion of {len(trials)} trials with the Pareto front and the chosen trial.",
        caption,
    )


def plan_parallel(evidence: Evidence) -> Plan | str | None:
    """Every trial's settings and bound."""
    if (chosen := evidence.chosen) is None:
        return "no trial was chosen" if evidence.trials else None
    return Plan(
        lambda: search_charts.parallel(evidence.trials, chosen),
        f"Parallel coordinates of {len(evidence.trials)} trials: what was searched, and the bound each came to.",
        "A line is a trial, its colour the bound it came to on validation data, in nats per example at β = 1.",
    )


def plan_importance(evidence: Evidence) -> Plan | str | None:
    """How much of the bound each searched setting explains."""
    if not evidence.trials:
        return None
    # Here and not above: it brings Optuna, which a report without trials can do without.
    from tuning.importance import importances

    if not (shares := importances(evidence.trials)):
        return "fewer than two settings vary, or no two bounds differ"
    return Plan(
        lambda: search_charts.importance(shares),
        f"Share of the bound's variance that each of {len(shares)} settings explains, in percent.",
        "How much of the variance of the trials' bounds each setting explains by itself, by a functional analysis of "
        "variance. A setting that explains little need not be searched again.",
    )


def table(evidence: Evidence) -> dict[str, Any] | None:
    """The columns and rows of the table of trials; None without trials."""
    if not evidence.trials:
        return None
    names = wording.parameter_names(evidence.trials)
    return {
        "columns": [(name, wording.column_name(name)) for name in names],
        "trials": wording.in_order(evidence.trials),
        "front": {trial.trial_id for trial in pareto(_scored(evidence))},
    }


def _scored(evidence: Evidence) -> list[Trial]:
    return [trial for trial in evidence.trials if wording.is_scored(trial)]
