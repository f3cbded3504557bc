"""Text that a command prints when a search or a pipeline has ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.services import Services
from pipelines.stages.pipeline import PipelineResult
from pipelines.stages.promote import PromoteResult
from tuning.frontier import Trial, pareto
from vae.parts.bounds import BoundConfig

if TYPE_CHECKING:
    from pipelines.models.drift import Finding

BETA = "objective.beta"
MAX_COLUMNS = 8
"""Most values of β that a table has a column for."""


@dataclass(frozen=True)
class Summary:
    """Outcome of the main job, for a person and for a program."""

    lines: tuple[Any, ...]
    """Text and tables."""
    pull: tuple[str, ...]
    """Lines of a shell and of Python that load the model."""
    result: dict[str, Any]
    """The same for a program."""


def search_table(trials: Sequence[Trial], chosen: str) -> Table:
    """Returns a table of architectures against β: the bound at β = 1, with its distortion and rate.

    Searches over other dimensions get a row for each trial, best first.
    """
    fields = sorted({field for trial in trials for field in trial.parameters})
    others = [field for field in fields if field != BETA]
    front = {trial.trial_id for trial in pareto(trials)}
    betas = sorted({trial.parameters[BETA] for trial in trials if BETA in trial.parameters})
    if not betas or len(others) != 1 or len(betas) > MAX_COLUMNS:
        return _trial_rows(trials, fields, chosen, front)
    table = Table(title="validation bound at β = 1, and distortion + rate, in nats per example", show_lines=True)
    table.add_column(others[0].rsplit(".", 1)[-1])
    for beta in betas:
        table.add_column(f"β = {beta:g}", justify="right")
    for value in dict.fromkeys(trial.parameters[others[0]] for trial in trials):
        by_beta = {t.parameters[BETA]: t for t in trials if t.parameters[others[0]] == value}
        cells = [_cell(by_beta[beta], chosen, front) if beta in by_beta else Text("") for beta in betas]
        table.add_row(str(value), *cells)
    table.caption = "bold: chosen   ◆: on the rate–distortion front   …: stopped early for being worse than others"
    return table


def _cell(trial: Trial, chosen: str, front: set[str]) -> Text:
    if trial.negative_bound is None:
        return Text(trial.status, style="red")
    marks = ("◆" if trial.trial_id in front else "") + ("…" if trial.status == "stopped" else "")
    style = "bold green" if trial.trial_id == chosen else ""
    return Text.assemble(
        (f"{marks} {trial.negative_bound:.2f}\n", style), (f"{trial.distortion:.2f} + {trial.rate:.2f}", "dim")
    )


def _trial_rows(trials: Sequence[Trial], fields: Sequence[str], chosen: str, front: set[str]) -> Table:
    table = Table(*(field.rsplit(".", 1)[-1] for field in fields), "bound", "distortion", "rate", "epochs", "")
    for trial in sorted(trials, key=lambda t: float("inf") if t.negative_bound is None else t.negative_bound):
        figures = [trial.negative_bound, trial.distortion, trial.rate]
        table.add_row(
            *(str(trial.parameters.get(field, "")) for field in fields),
            *("" if value is None else f"{value:.3f}" for value in figures),
            str(trial.epochs),
            trial.status + (" ◆" if trial.trial_id in front else ""),
            style="bold green" if trial.trial_id == chosen else None,
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


def of_pipeline(result: PipelineResult, services: Services, seconds: Mapping[str, float]) -> Summary:
    """Returns the outcome of the main job.

    Args:
        result: Result of the flow `pipeline`.
        services: Services that it ran on.
        seconds: Duration of each stage.
    """
    dataset, search, promoted = result.dataset, result.search, result.promotion
    assert isinstance(promoted, PromoteResult), "the main job asks no person"
    version, alias = promoted.version, promoted.alias
    uri = f"models:/{version.name}@{alias}"
    reused = " (it was there already, nothing was rewritten)" if dataset.reused else ""
    verdict = "is now" if promoted.promoted else "is not"
    scores = "   ".join(f"{metric} {value:.3f}" for metric, value in sorted(promoted.metrics.items()))
    lines = (
        f"\nDataset [bold]{dataset.name}[/]@{dataset.dataset_id[:12]}{reused}",
        search_table(search.trials, search.best.trial_id),
        f"[bold]{version.name}[/] version {version.version} {verdict} [bold]{alias}[/]: {escape(promoted.reason)}.",
        f"Scores on the test split (nats per example): {scores}",
        f"UIs: Prefect {services.prefect_url}   MLflow {services.mlflow_url}   Ray {services.ray_address}   "
        "(running while `betaline up` is)",
        "Seconds: " + "   ".join(f"{stage} {value:.0f}" for stage, value in seconds.items()),
    )
    pull = (
        f'\nPull the model, after `eval "$(betaline up --env --home {shlex.quote(services.home)})"`:\n',
        "  import mlflow.pyfunc",
        f'  model = mlflow.pyfunc.load_model("{uri}")',
        '  digits = model.predict(None, params={"task": "generate", "n": 16, "seed": 1})',
    )
    described = {
        "dataset_id": dataset.dataset_id,
        "dataset_reused": dataset.reused,
        "search": search.trials,
        "model": {
            "name": version.name,
            "version": version.version,
            "uri": version.uri,
            "alias": alias if promoted.promoted else None,
            "promoted": promoted.promoted,
            "reason": promoted.reason,
        },
        "metrics": promoted.metrics,
        "report": promoted.report,
        "report_url": promoted.report_url,
        "seconds": dict(seconds),
    }
    return Summary(lines, pull, described)
