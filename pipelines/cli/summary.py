"""Text that a command prints when a search or a pipeline has ended."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.services import Services
from pipelines.stages.pipeline import PipelineResult
from pipelines.stages.promote import PromoteResult
from tuning.frontier import Trial
from tuning.table import BETA, Row, SearchTable
from vae.parts.bounds import BoundConfig

if TYPE_CHECKING:
    from pipelines.models.drift import Finding

MAX_COLUMNS = 8
"""Most values of β that a table has a column for."""


def search_table(trials: Sequence[Trial], chosen: str) -> Table:
    """Returns a table of architectures against β: the bound at β = 1, with its distortion and rate.

    Searches over other dimensions get a row for each trial, best first.
    """
    searched = SearchTable(trials, chosen)
    others = [name for name in searched.parameters if name != BETA]
    betas = sorted({trial.parameters[BETA] for trial in trials if BETA in trial.parameters})
    if not betas or len(others) != 1 or len(betas) > MAX_COLUMNS:
        return _trial_rows(searched)
    table = Table(title="validation bound at β = 1, and distortion + rate, in nats per example", show_lines=True)
    table.add_column(_heading(others[0]))
    for beta in betas:
        table.add_column(f"β = {beta:g}", justify="right")
    for value in dict.fromkeys(trial.parameters[others[0]] for trial in trials):
        by_beta = {row.trial.parameters[BETA]: row for row in searched.rows if row.trial.parameters[others[0]] == value}
        table.add_row(str(value), *(_cell(by_beta[beta]) if beta in by_beta else Text("") for beta in betas))
    table.caption = "bold: chosen   ◆: on the rate–distortion front   …: stopped early for being worse than others"
    return table


def _heading(parameter: str) -> str:
    return parameter.rsplit(".", 1)[-1]


def _cell(row: Row) -> Text:
    trial = row.trial
    if trial.negative_bound is None:
        return Text(trial.status, style="red")
    marks = "◆" * row.is_on_front + "…" * (trial.status == "stopped")
    style = "bold green" if row.is_chosen else ""
    return Text.assemble(
        (f"{marks} {trial.negative_bound:.2f}\n", style), (f"{trial.distortion:.2f} + {trial.rate:.2f}", "dim")
    )


def _trial_rows(searched: SearchTable) -> Table:
    table = Table(*map(_heading, searched.parameters), "bound", "distortion", "rate", "epochs", "")
    for row in sorted(searched.rows, key=lambda row: math.inf if (b := row.trial.negative_bound) is None else b):
        trial = row.trial
        figures = [trial.negative_bound, trial.distortion, trial.rate]
        table.add_row(
            *(str(trial.parameters.get(name, "")) for name in searched.parameters),
            *("" if value is None else f"{value:.3f}" for value in figures),
            str(trial.epochs),
            trial.status + " ◆" * row.is_on_front,
            style="bold green" if row.is_chosen else None,
        )
    return table


def bound_note(bound: BoundConfig) -> str:
    """Returns why a bound is not the sum of the distortion and the rate beside it; the empty string if it is.

    Args:
        bound: `objective.bound` of the run's configuration.
    """
    if bound.kind == "elbo":
        return ""
    return f"; their sum is the ELBO's bound, which is looser than that of {bound.kind} with {bound.samples} draws"


def drift_verdict(findings: Sequence[Finding]) -> str:
    """Returns a sentence that says whether the data has drifted, and in which figures."""
    if drifted := [finding.what for finding in findings if finding.drifted]:
        return f"drifted: {', '.join(drifted)} moved further than it may"
    return f"no drift: none of {len(findings)} figures moved further than it may"


def counts(rows: Mapping[Any, int]) -> str:
    """Returns the number of rows of each split, as `1,437 train, 180 validation`."""
    return ", ".join(f"{count:,} {split}" for split, count in rows.items())


def promotion_line(name: str, alias: str, result: PromoteResult) -> str:
    """Returns whether a model's new version has taken the alias, and why."""
    verb = "is now" if result.promoted else "is not"
    return f"[bold]{name}[/] version {result.version.version} {verb} [bold]{alias}[/]: {escape(result.reason)}."


def pipeline_lines(result: PipelineResult, services: Services, seconds: Mapping[str, float]) -> Iterator[Any]:
    """Yields the outcome of the main job, and how to load the model.

    Args:
        result: Result of the flow `pipeline`.
        services: Services that it ran on.
        seconds: Duration of each stage.
    """
    dataset, search, promoted = result.dataset, result.search, promotion_of(result)
    name = promoted.version.name
    reused = " (it was there already, nothing was rewritten)" if dataset.reused else ""
    yield f"\nDataset [bold]{dataset.name}[/]@{dataset.dataset_id[:12]}{reused}"
    yield search_table(search.trials, search.best.trial_id)
    yield promotion_line(name, promoted.alias, promoted)
    scores = "   ".join(f"{metric} {value:.3f}" for metric, value in sorted(promoted.metrics.items()))
    yield f"Scores on the test split (nats per example): {scores}"
    yield (
        f"UIs: Prefect {services.prefect_url}   MLflow {services.mlflow_url}   Ray {services.ray_address}   "
        "(running while `betaline up` is)"
    )
    yield "Seconds: " + "   ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
    yield f'\nPull the model, after `eval "$(betaline up --env --home {shlex.quote(services.home)})"`:\n'
    yield "  import mlflow.pyfunc"
    yield f'  model = mlflow.pyfunc.load_model("models:/{name}@{promoted.alias}")'
    yield '  digits = model.predict(None, params={"task": "generate", "n": 16, "seed": 1})'


def pipeline_json(result: PipelineResult, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Returns the outcome of the main job for a program."""
    promoted = promotion_of(result)
    version = promoted.version
    return {
        "dataset_id": result.dataset.dataset_id,
        "dataset_reused": result.dataset.reused,
        "search": result.search.trials,
        "model": {
            "name": version.name,
            "version": version.version,
            "uri": version.uri,
            "alias": promoted.alias if promoted.promoted else None,
            "promoted": promoted.promoted,
            "reason": promoted.reason,
        },
        "metrics": promoted.metrics,
        "report": promoted.report,
        "report_url": promoted.report_url,
        "seconds": dict(seconds),
    }


def promotion_of(result: PipelineResult) -> PromoteResult:
    """Returns the promotion of a main job that asked no person."""
    assert isinstance(result.promotion, PromoteResult)
    return result.promotion
