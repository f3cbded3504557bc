"""A stage's job on the cluster, under an identity that derives from the flow run.

A retry attaches to the running job, resumes from its last checkpoint, or returns its finished result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging import get_logger
from prefect.runtime import flow_run as current_flow_run
from pydantic import TypeAdapter

from pipelines.cluster.launch import Submission, run_job, stop_job
from pipelines.cluster.resources import Resources
from pipelines.cluster.runs import RunFolder
from pipelines.flows.job_events import shown_progress
from vae.errors import ClusterLost
from vae.storage import locate

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

PIPELINE_STAGES = ("ingest", "tune", "train", "promote")
"""Stages whose jobs a flow may run under its own identity, with a dash and the stage's name behind it."""

STAGES = {"evaluate": "promote"}
"""Stage that a kind of job is a part of, where the two have different names."""

PASSED_ON = ("MLFLOW_TRACKING_URI",)
"""Variables that jobs take over from the flow's environment. No credentials: Ray shows and logs them."""


def home() -> str:
    """Returns BETALINE_HOME as a URI or an absolute path; `./.betaline` by default."""
    return locate(os.environ.get("BETALINE_HOME", "./.betaline")).uri


def identity_of(kind: str, flow_run_id: str, run: str | None) -> str:
    """Returns the identity of a flow run's job: the given run name, or one that derives from the flow run."""
    # The whole id: its first half is its time of creation, which the runs of one schedule share.
    return run or f"{kind}-{flow_run_id.replace('-', '')}"


def identities_of(flow_name: str, flow_run: FlowRun) -> list[str]:
    """Returns the identities of all jobs that a flow run may have on the cluster."""
    own = identity_of(flow_name, str(flow_run.id), (flow_run.parameters or {}).get("run"))
    return [own, *(f"{own}-{stage}" for stage in PIPELINE_STAGES)]


def own_identity(kind: str, run: str | None) -> str:
    """Returns the identity of the current flow run's job."""
    return identity_of(kind, str(current_flow_run.id), run)


def folder_of(identity: str) -> RunFolder:
    """Returns the folder of a run in this process's home."""
    return RunFolder(home(), identity)


def stop_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stops the Ray jobs of a flow run that was cancelled or has crashed; Prefect calls it in another process."""
    for identity in identities_of(flow.name, flow_run):
        if stop_job(identity):
            get_logger("betaline").info("stopped job %s", identity)


def stage(function: Callable[P, ResultT]) -> Flow[P, ResultT]:
    """Turns a function into a flow that stops its jobs when it is cancelled, and keeps its result as JSON."""
    return flow(on_cancellation=[stop_jobs], on_crashed=[stop_jobs], persist_result=True, result_serializer="json")(
        function
    )


def _is_worth_a_retry(task: Any, run: Any, state: State[Any]) -> bool:
    """Returns whether a retry may succeed: a lost cluster may come back, a refused input will not change."""
    return isinstance(state.result(raise_on_failure=False), ClusterLost)


@task(
    name="ray-job",
    task_run_name="{kind}-job",
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=_is_worth_a_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def ray_job(
    kind: str,
    request: Mapping[str, Any],
    identity: str,
    returns: type[ResultT],
    needs: Callable[[], Resources | None] | None = None,
) -> ResultT:
    """Runs one job on the cluster and returns its typed result."""
    asked = Submission(
        kind=kind,
        spec={"home": home(), "identity": identity, "request": request},
        identity=identity,
        home=home(),
        environment={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        needs=needs,
    )
    with shown_progress(STAGES.get(kind, kind), identity) as take:
        result = run_job(asked, take, get_run_logger().info)
    return TypeAdapter(returns).validate_python(result)
