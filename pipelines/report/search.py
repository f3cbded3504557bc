"""Figures and tables of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.report import search_charts
from pipelines.report.evidence import Evidence, LeftOut
from pipelines.report.formats import bits_per_dimension, minus
from pipelines.report.templates import render
from pipelines.report.theme import Plan
from pipelines.report.trials import architecture_of, beta_of, bound_note, column_name
from tuning.frontier import Trial, select
from tuning.table import SearchTable, is_scored


def plan_frontier(evidence: Evidence) -> Plan:
    """Plans the rate–distortion plane of the trials."""
    if not evidence.trials:
        raise LeftOut("the configuration was not searched for")
    trials, chosen = [trial for trial in evidence.trials if is_scored(trial)], evidence.chosen
    if not trials:
        raise LeftOut(f"none of the {len(evidence.trials)} trials came to a result")
    caption = "Each point is a trial at its last epoch, on validation data."
    if len({beta_of(trial) for trial in trials}) > 1:
        caption += " Its colour is β."
    if len({architecture_of(trial) for trial in trials}) > 1:
        caption += " Its shape is the architecture."
    if any(trial.status != "finished" for trial in trials):
        caption += " Hollow points were not trained to the end."
    if chosen is not None:
        caption += (
            " On the dotted line, rate and distortion add up to the negative ELBO of the chosen trial; points below "
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
    from tuning.importances import importances

    if not (shares := importances(evidence.trials)):
        raise LeftOut("fewer than two settings vary, or no two bounds differ")
    return Plan(
        lambda theme: search_charts.importance(shares, theme),
        f"Share of the bound's variance that each of {len(shares)} settings explains, in percent.",
        "How much of the variance of the trials' bounds each setting explains by itself, by a functional analysis of "
        "variance. A setting that explains little need not be searched again.",
    )


def table(trials: Sequence[Trial], chosen: str | None) -> dict[str, Any] | None:
    """Returns columns, rows and note of the table of the trials; None without trials."""
    if not trials:
        return None
    table = SearchTable(trials, chosen)
    columns = [(name, column_name(name)) for name in table.parameters]
    return {"columns": columns, "rows": table.rows, "note": bound_note(trials)}


def search_table(trials: Sequence[Trial], num_dimensions: int, chosen: str | None = None) -> str:
    """Returns the trials of a search as a markdown table: settings, bound, rate, distortion, and how each ended.

    Args:
        trials: Trials as the search returned them.
        num_dimensions: Values of an example, for the bound in bits per dimension.
        chosen: Id of the chosen trial; by default the one that `tuning.frontier.select` chooses.
    """
    if chosen is None and (scored := [trial for trial in trials if is_scored(trial)]):
        chosen = select(scored).trial_id

    def bits(bound: float | None) -> str:
        return "–" if bound is None else minus(f"{bits_per_dimension(bound, num_dimensions):.4f}")

    return render("search.md.j2", search=table(trials, chosen), bits=bits, num_dimensions=num_dimensions)
