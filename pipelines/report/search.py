"""Figures and tables of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.report import search_charts, wording
from pipelines.report.evidence import Evidence, LeftOut
from pipelines.report.formats import bits_per_dimension, minus, nats, value
from pipelines.report.templates import escape
from pipelines.report.theme import Plan
from tuning.frontier import Trial, score_of, select
from tuning.table import SearchTable, is_scored


def plan_frontier(evidence: Evidence) -> Plan:
    """Plans the rate–distortion plane of the trials."""
    if not evidence.trials:
        raise LeftOut("the configuration was not searched for")
    trials, chosen = _scored(evidence), evidence.chosen
    if not trials:
        raise LeftOut(f"none of the {len(evidence.trials)} trials came to a result")
    caption = "Each point is a trial at its last epoch, on validation data."
    if len({wording.beta_of(trial) for trial in trials}) > 1:
        caption += " Its colour is β."
    if len({wording.architecture_of(trial) for trial in trials}) > 1:
        caption += " Its shape is the architecture."
    if any(trial.status != "finished" for trial in trials):
        caption += " Hollow points were not trained to the end."
    if chosen is not None:
        caption += (
            " On the dotted line, rate and distortion add up to the same negative ELBO as the chosen trial's; points below "
            "it have a lower one, which is better."
        )
    num_dimensions = None if evidence.dataset is None else evidence.dataset.example.num_values
    return Plan(
        lambda theme: search_charts.frontier(trials, chosen, num_dimensions, theme),
        f"Rate against distortion of {len(trials)} trials with the Pareto front and the chosen trial.",
        caption,
    )


def plan_parallel(evidence: Evidence) -> Plan:
    """Plans the settings and the bound of every trial."""
    if (chosen := evidence.chosen) is None:
        raise LeftOut("no trial was chosen" if evidence.trials else "")
    return Plan(
        lambda theme: search_charts.parallel(evidence.trials, chosen, theme),
        f"Parallel coordinates of {len(evidence.trials)} trials: the settings that were searched, and the bound of each.",
        "Each line is a trial. Its colour is its bound on validation data, in nats per example at β = 1.",
    )


def plan_importance(evidence: Evidence) -> Plan:
    """Plans how much of the bound each searched setting explains."""
    if not evidence.trials:
        raise LeftOut
    # Imported here because it brings Optuna, which a report without trials does not need.
    from tuning.importance import importances

    if not (shares := importances(evidence.trials)):
        raise LeftOut("fewer than two settings vary, or no two bounds differ")
    return Plan(
        lambda theme: search_charts.importance(shares, theme),
        f"Share of the bound's variance that each of {len(shares)} settings explains, in percent.",
        "How much of the variance of the trials' bounds each setting explains by itself, by a functional analysis of "
        "variance. A setting that explains little need not be searched again.",
    )


def table(evidence: Evidence) -> dict[str, Any] | None:
    """Returns the columns and rows of the table of trials; None without trials."""
    if not evidence.trials:
        return None
    table = SearchTable(evidence.trials, evidence.chosen_trial)
    return {
        "columns": [(name, wording.column_name(name)) for name in table.parameters],
        "rows": table.rows,
        "note": bound_note(evidence.trials),
    }


def bound_note(trials: Sequence[Trial]) -> str:
    """Returns why the bounds are not the sums of the rates and distortions beside them; empty if they are."""
    pairs = [(score_of(trial, "elbo"), trial.negative_bound) for trial in trials]
    if all(elbo is None or bound is None or elbo - bound < 0.01 for elbo, bound in pairs):
        return ""
    return (
        " The bound is the importance-weighted one that the trials were trained for. Rate and distortion add up to the "
        "negative ELBO, which is a looser bound."
    )


def search_table(trials: Sequence[Trial], num_dimensions: int, chosen: str | None = None) -> str:
    """Returns the trials of a search as a markdown table: settings, bound, rate, distortion, and how each ended.

    Args:
        trials: Trials as the search returned them.
        num_dimensions: Values of an example, for the bound in bits per dimension.
        chosen: Id of the chosen trial; by default the one that `tuning.frontier.select` chooses.
    """
    if not trials:
        return "The search tried nothing.\n"
    if chosen is None and (scored := [trial for trial in trials if is_scored(trial)]):
        chosen = select(scored).trial_id
    table = SearchTable(trials, chosen)
    names = table.parameters
    figures = ["bound (β = 1)", "bits/dim", "rate", "distortion", "active", "epochs"]
    headings = [*map(wording.column_name, names), *figures, "status"]
    aligned = [*["---"] * len(names), *["---:"] * len(figures), "---"]
    rows = [f"| {' | '.join(['', *map(escape, headings)])} |", f"| {' | '.join(['---', *aligned])} |"]
    for row in table.rows:
        trial, marks = row.trial, ["**chosen**"] * row.is_chosen + ["front"] * row.is_on_front
        ended = trial.status if trial.error is None else f"{trial.status}: {trial.error}"
        cells = [
            ", ".join(marks),
            *(escape(value(trial.parameters.get(name, "–"))) for name in names),
            nats(trial.negative_bound),
            _bits(trial.negative_bound, num_dimensions),
            *map(nats, (trial.rate, trial.distortion)),
            "–" if trial.active_units is None else str(trial.active_units),
            str(trial.epochs),
            escape(ended, 120),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    legend = (
        "Rate, distortion and bound are of the validation split, in nats per example; *bits/dim* is the bound in bits for "
        f"each of the {num_dimensions:,} dimensions of an example.{bound_note(trials)} *front*: no other trial is better "
        "in both rate and distortion. *stopped*: ended early by the scheduler for being worse than others."
    )
    return "\n".join(rows) + f"\n\n{legend}\n"


def _bits(negative_bound: float | None, num_dimensions: int) -> str:
    if negative_bound is None:
        return "–"
    return minus(f"{bits_per_dimension(negative_bound, num_dimensions):.4f}")


def _scored(evidence: Evidence) -> list[Trial]:
    return [trial for trial in evidence.trials if is_scored(trial)]
