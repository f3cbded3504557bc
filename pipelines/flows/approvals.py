"""Promotion by a person: the evidence they are shown, the form they fill in, and the flow runs that wait for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
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
from vae.errors import RegistryError

PROMOTIONS = FlowFilter(name=FlowFilterName(any_=["promote"]))


class Approval(RunInput):
    """The form that a person fills in, in Prefect's UI or with `betaline approve`."""

    approve: bool = False
    by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Waiting:
    """A flow run that waits for a person."""

    flow_run_id: str
    flow_run: str
    run: str
    """The training run that would be promoted."""
    name: str
    """Of the registered model."""
    alias: str
    since: datetime | None

    @property
    def references(self) -> tuple[str, ...]:
        """What a person may call it by."""
        return self.flow_run_id, self.flow_run, self.run


def ask(evaluated: Mapping[str, Any], decision: Decision) -> Approval:
    """Shows the evidence and suspends the flow run until a person has decided; the run's process ends meanwhile.

    Raises:
        RuntimeError: If the flow run belongs to no deployment, so that nothing could take it up again.
    """
    text = evidence(evaluated, decision)
    version = evaluated["version"]
    create_markdown_artifact(text, key="approval", description=f"Evidence for {version['name']} {version['version']}")
    form = Approval.with_initial_data(description=text, approve=False)
    return suspend_flow_run(wait_for_input=form, key="approval")


def answered(approval: Approval, decision: Decision) -> Decision:
    """The gate's decision after a person's."""
    who = approval.by or "a person"
    said = f": {approval.reason}" if approval.reason else ""
    if not approval.approve:
        return Decision(False, f"{who} said no{said}")
    return Decision(decision.promote, f"{decision.reason}; {who} said yes{said}")


def evidence(evaluated: Mapping[str, Any], decision: Decision) -> str:
    """What a person decides by, in markdown: the gate's words, metrics beside the champion's, the report, the uri."""
    version, champion = evaluated["version"], evaluated["champion"]
    alias = evaluated["alias"]
    theirs = tracking.metrics_of(champion["run_id"]) if champion else {}
    other = f"version {champion['version']}, the {alias}" if champion else f"no {alias} yet"
    rows = [f"| metric on the test split | version {version['version']} | {other} |", "|---|---|---|"]
    for metric, value in sorted(evaluated["metrics"].items()):
        rows.append(f"| {metric.removeprefix('test_')} | {value:.4g} | {_figure(theirs.get(metric))} |")
    url = tracking.artifact_url(evaluated["experiment_id"], evaluated["mlflow_run_id"], tracking.REPORT)
    again = evaluated["champion_score"]
    rescored = (
        f"\n\nOn the new data the {alias} scores {again['nats']:.3f} nats."
        if champion and again and again != champion["score"]
        else ""
    )
    return (
        f"Shall **{version['name']}** version {version['version']} become `{alias}`? {decision.reason}.\n\n"
        + "\n".join(rows)
        + rescored
        + f"\n\n[Report and plots]({url}) · model `{version['uri']}`"
    )


def waiting() -> list[Waiting]:
    """The flow runs that wait for a person, oldest first."""
    paused = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=PROMOTIONS, flow_run_filter=paused)
    return sorted((_waiting(run) for run in runs), key=lambda one: one.since.timestamp() if one.since else 0.0)


def answer(reference: str, *, approve: bool, by: str, reason: str = "") -> Waiting:
    """Lets a flow run that waits for a person go on.

    Args:
        reference: The flow run's name or id, or the training run's name.
        approve: Whether the alias may move.
        by: Who says so.
        reason: Why; both are kept with the decision.

    Raises:
        RegistryError: If none waits under that reference, with the reason, or several do, with their names.
    """
    there = waiting()
    found = [one for one in there if reference in one.references]
    if not found:
        raise RegistryError(f"no flow run waits for a person as {reference!r}: {_why_not(reference, there)}")
    if len(found) > 1:
        raise RegistryError(f"{len(found)} flow runs wait for a person as {reference!r}; name one: {_listed(found)}")
    resume_flow_run(UUID(found[0].flow_run_id), run_input={"approve": approve, "by": by, "reason": reason})
    return found[0]


def _why_not(reference: str, there: Sequence[Waiting]) -> str:
    """Returns why no flow run waits under a reference: the state of the last one and the gate's words, or that none is
    called so.
    """
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=PROMOTIONS, sort=FlowRunSort.START_TIME_DESC)
        last = next((run for run in runs if reference in _waiting(run).references), None)
        if last is None:
            return f"there is no such promotion; waiting: {_listed(there) or 'none'}"
        promotion = ArtifactFilter(
            key=ArtifactFilterKey(any_=["promotion"]), flow_run_id=ArtifactFilterFlowRunId(any_=[last.id])
        )
        said = client.read_artifacts(artifact_filter=promotion)
    words = re.sub("[*`]", "", str(said[0].data)) if said else last.state and last.state.message
    return f"{last.name} is {(last.state_name or 'unknown').lower()}{f': {words}' if words else ''}"


def _listed(found: Sequence[Waiting]) -> str:
    return "; ".join(f"{one.flow_run} ({one.name} from run {one.run})" for one in found)


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


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
