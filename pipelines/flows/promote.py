"""The flow that evaluates a trained run, registers it, and moves an alias; and its call at the end of other flows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import cast

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.concurrency.sync import concurrency
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from pipelines.cluster.needs import check_promotion
from pipelines.flows.job_events import linked_report
from pipelines.flows.ray_job import folder_of, own_identity, ray_job, stage
from pipelines.models import gate, registry
from pipelines.operating import approvals
from pipelines.stages.fields import ModelRequest
from pipelines.stages.promote import Evaluation, PendingPromotion, PromoteRequest, PromoteResult
from vae.errors import ConfigError

PROMOTION = "promote/default"
"""Deployment whose runs can wait for a person."""


@stage
def promote(request: PromoteRequest, run: str | None = None) -> PromoteResult:
    """Evaluates a trained run, registers it, and moves the alias if the gate passes it and, where asked, a person agrees.

    Args:
        request: Which run, and the bar it must pass.
        run: Name of the evaluation; the same name returns an earlier evaluation. None derives a new name.
    """
    identity = own_identity("promote", run)
    with linked_report("promote", folder_of(identity)) as report:
        asked = request.model_dump(mode="json", exclude={"approve"})
        evaluated = ray_job("evaluate", asked, identity, Evaluation, partial(check_promotion, request))
    decision = gate.judge(evaluated)
    approval = approvals.ask(evaluated, decision) if decision.promote and request.approve else None
    decision = decide(evaluated, approval)
    version = evaluated.version
    create_markdown_artifact(
        f"**{version.name}** version {version.version} {'is now' if decision.promote else 'is not'} `{request.alias}`: "
        f"{decision.reason}.",
        key="promotion",
        description=f"Promotion of {version.name} {version.version}",
    )
    outcome = {"promoted": decision.promote, "reason": decision.reason, "report_url": report.url}
    return PromoteResult(**{**dict(evaluated), **outcome})


def promote_if_asked(request: ModelRequest, run: str) -> PromoteResult | PendingPromotion | None:
    """Promotes the model of a training or a search whose request names an alias; returns None for any other."""
    if request.alias is None:
        return None
    shared = request.model_dump(include={"name", "alias", "approve", "exact", "projection"})
    return hand_on(PromoteRequest(run=run, **shared), f"{run}-promote")


def hand_on(request: PromoteRequest, run: str) -> PromoteResult | PendingPromotion:
    """Promotes at the end of another flow.

    A promotion that a person decides on becomes a flow run of its own, which can wait for days after the other one ends.
    """
    if not request.approve:
        return promote(request, run=run)
    try:
        waiting = run_deployment(
            PROMOTION,
            parameters={"request": request.model_dump(mode="json")},
            timeout=0,
            as_subflow=False,
            idempotency_key=run,
        )
    except ObjectNotFound:
        raise ConfigError(
            f"approve: there is no deployment {PROMOTION}, whose run could wait; betaline deploy"
        ) from None
    name = cast(FlowRun, waiting).name
    return PendingPromotion(reason=f"flow run {name} asks a person: betaline approve {name}", flow_run=name)


@task(name="gate", cache_policy=NO_CACHE, persist_result=False)
def decide(evaluated: Evaluation, approval: approvals.Approval | None) -> gate.Decision:
    """Returns the decision on the alias, as a step of the flow run."""
    decision = settled(evaluated, approval)
    get_run_logger().info("version %s: %s", evaluated.version.version, decision.reason)
    return decision


def settled(evaluated: Evaluation, approval: approvals.Approval | None = None) -> gate.Decision:
    """Judges by the registry as it is now, and moves the alias if that is the decision; a repeated call changes nothing."""
    version, alias = evaluated.version, evaluated.alias
    with one_at_a_time(f"alias-{version.name}@{alias}"):
        decision = gate.judge(evaluated)
        if approval is not None:
            decision = approvals.answered(approval, decision)
        if decision.promote:
            registry.move_alias(version, alias, decision.reason)
    return decision


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Holds a lock of the Prefect server while the block runs; flow runs in other processes and on other machines wait.

    The lock of a process that is killed is free after a minute.
    """
    # Another flow run may make the limit meanwhile.
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.upsert_global_concurrency_limit_by_name(name, 1)
    with concurrency(name, strict=True, lease_duration=60):
        yield
