"""Promotion by a person: the evidence that they see, the form that they fill in, and the flow runs that wait for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prefect import suspend_flow_run
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flow_runs import resume_flow_run
from prefect.input import RunInput

from pipelines.models import tracking
from pipelines.models.gate import Decision
from pipelines.stages.promote import Evaluation
from vae.errors import RegistryError

PROMOTIONS = FlowFilter(name=FlowFilterName(any_=["promote"]))


class Approval(RunInput):
    """The form that a person fills in, in Prefect's UI or with `betaline approve`."""

    approve: bool = False
    """Whether the version may take the alias."""
    by: str = ""
    """Name of the person."""
    reason: str = ""
    """Reason of the decision."""


@dataclass(frozen=True)
class Waiting:
    """A flow run that waits for a person."""

    flow_run_id: str
    """Id of the flow run."""
    flow_run: str
    """Name of the flow run."""
    run: str
    """Name of the training run to promote."""
    name: str
    """Name of the registered model."""
    alias: str
    """Alias that the version would take."""
    since: datetime | None
    """Time at which the flow run began to wait; None if Prefect does not say."""

    @property
    def references(self) -> tuple[str, ...]:
        """Names by which `betaline approve` accepts the flow run."""
        return self.flow_run_id, self.flow_run, self.run


def ask(evaluated: Evaluation, decision: Decision) -> Approval:
    """Shows the evidence and suspends the flow run until a person has decided; the run's process ends meanwhile.

    Raises:
        RuntimeError: If the flow run belongs to no deployment, so that nothing could resume it.
    """
    text, version = evidence(evaluated, decision), evaluated.version
    create_markdown_artifact(text, key="approval", description=f"Evidence for {version.name} {version.version}")
    form = Approval.with_initial_data(description=text, approve=False)
    return suspend_flow_run(wait_for_input=form, key="approval")


def answered(approval: Approval, decision: Decision) -> Decision:
    """Returns the gate's decision combined with the person's."""
    who = approval.by or "a person"
    reason = f": {approval.reason}" if approval.reason else ""
    if not approval.approve:
        return Decision(False, f"{who} said no{reason}")
    return Decision(decision.promote, f"{decision.reason}; {who} said yes{reason}")


def evidence(evaluated: Evaluation, decision: Decision) -> str:
    """Returns the evidence in markdown: the gate's reason, metrics beside the champion's, the report, the model's URI."""
    version, champion, alias = evaluated.version, evaluated.champion, evaluated.alias
    theirs = tracking.metrics_of(champion.run_id) if champion else {}
    other = f"version {champion.version}, the {alias}" if champion else f"no {alias} yet"
    rows = [f"| metric on the test split | version {version.version} | {other} |", "|---|---|---|"]
    for metric, value in sorted(evaluated.metrics.items()):
        their_figure = f"{theirs[metric]:.4g}" if metric in theirs else ""
        rows.append(f"| {metric.removeprefix('test_')} | {value:.4g} | {their_figure} |")
    url = tracking.artifact_url(evaluated.experiment_id, evaluated.mlflow_run_id, tracking.REPORT)
    paired = evaluated.comparison
    difference = f"\n\nDifference from the {alias} on the same rows: {paired}." if paired else ""
    return (
        f"Shall **{version.name}** version {version.version} become `{alias}`? {decision.reason}.\n\n"
        + "\n".join(rows)
        + difference
        + f"\n\n[Report and plots]({url}) · model `{version.uri}`"
    )


def waiting() -> list[Waiting]:
    """Returns the flow runs that wait for a person, oldest first."""
    paused = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=PROMOTIONS, flow_run_filter=paused)
    return sorted(map(_waiting, runs), key=lambda one: one.since.timestamp() if one.since else 0.0)


def answer(reference: str, *, approve: bool, by: str, reason: str = "") -> Waiting:
    """Answers and resumes a flow run that waits for a person.

    Args:
        reference: The flow run's name or id, or the training run's name.
        approve: Whether the alias may move.
        by: Name of the person.
        reason: Reason of the decision; both are kept with it.

    Raises:
        RegistryError: If no flow run waits under that reference, with the reason, or several do, with their names.
    """
    everyone = waiting()
    meant = [one for one in everyone if reference in one.references]
    if not meant:
        raise RegistryError(f"no flow run waits for a person as {reference!r}: {_why_not(reference, everyone)}")
    if len(meant) > 1:
        raise RegistryError(f"{len(meant)} flow runs wait for a person as {reference!r}; name one: {_listed(meant)}")
    resume_flow_run(UUID(meant[0].flow_run_id), run_input={"approve": approve, "by": by, "reason": reason})
    return meant[0]


def _why_not(reference: str, everyone: Sequence[Waiting]) -> str:
    """Returns why no flow run waits under a reference: the state of its last run with the gate's reason, or no such run."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=PROMOTIONS, sort=FlowRunSort.START_TIME_DESC)
        last = next((run for run in runs if reference in _waiting(run).references), None)
        if last is None:
            return f"there is no such promotion; waiting: {_listed(everyone) or 'none'}"
        promotion = ArtifactFilter(
            key=ArtifactFilterKey(any_=["promotion"]), flow_run_id=ArtifactFilterFlowRunId(any_=[last.id])
        )
        artifacts = client.read_artifacts(artifact_filter=promotion)
    reason = re.sub("[*`]", "", str(artifacts[0].data)) if artifacts else last.state and last.state.message
    return f"{last.name} is {(last.state_name or 'unknown').lower()}{f': {reason}' if reason else ''}"


def _listed(flow_runs: Sequence[Waiting]) -> str:
    return "; ".join(f"{one.flow_run} ({one.name} from run {one.run})" for one in flow_runs)


def _waiting(run: FlowRun) -> Waiting:
    request = (run.parameters or {})["request"]
    return Waiting(
        flow_run_id=str(run.id),
        flow_run=run.name,
        run=request["run"],
        name=request["name"],
        alias=request.get("alias", "champion"),
        since=run.state.timestamp if run.state else None,
    )
