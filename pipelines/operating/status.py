"""Status of the flow runs, of their jobs on the cluster, and of whatever each of them waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort

from pipelines.cluster.demands import ClusterStatus, Demand, JobStatus, ask_cluster
from pipelines.cluster.resources import current_cluster
from pipelines.flows.ray_job import identities_of
from vae.errors import ClusterError
from vae.training.room import in_words

UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED]
NUM_ENDED = 5
"""Number of flow runs that have ended and are shown, the last ones."""
ONLINE = "ONLINE"


@dataclass(frozen=True)
class Workers:
    """Workers of a work pool."""

    pool: str
    """Name of the pool."""
    num_online: int
    """Number of workers that poll it."""
    is_paused: bool
    """Whether the pool starts no runs."""
    limit: int | None
    """Largest number of flow runs at once; None sets no limit."""


@dataclass(frozen=True)
class RunStatus:
    """A flow run, its progress, and its obstacle."""

    flow: str
    """Name of the flow."""
    name: str
    """Name of the flow run."""
    flow_run_id: str
    """Id of the flow run."""
    state: str
    """Name of its state in Prefect."""
    since: datetime | None
    """Time of that state."""
    deployment: str | None
    """FLOW/NAME of its deployment; None for a flow that a command runs."""
    jobs: tuple[str, ...] = ()
    """Submission ids of its jobs on the cluster that have not ended."""
    progress: str = ""
    """Position of its job in words, as Prefect has it; of a run that has ended its message."""
    waits_for: str = ""
    """Obstacle in words; empty for a run that is running or has ended."""


@dataclass(frozen=True)
class Status:
    """Flow runs, workers and the cluster."""

    runs: tuple[RunStatus, ...]
    """Unfinished flow runs and the last ones that ended."""
    strays: tuple[str, ...]
    """Submission ids of running jobs that belong to no unfinished flow run."""
    workers: tuple[Workers, ...]
    """Workers of each work pool."""
    cluster: ClusterStatus | None
    """The Ray cluster; None if it does not answer."""
    cluster_error: str = ""
    """Error message of a cluster that does not answer."""


def collect() -> Status:
    """Returns the status of Prefect and of the Ray cluster that the environment names; a lost cluster is part of it."""
    cluster, cluster_error = None, ""
    try:
        cluster = ask_cluster(current_cluster())
    except (ClusterError, ConnectionError) as error:
        cluster_error = str(error)
    with get_client(sync_client=True) as client:
        flow_runs = _flow_runs(client)
        workers = _workers(client)
        flows = {flow.id: flow.name for flow in client.read_flows()}
        deployments = {one.id: one for one in client.read_deployments()}
        positions = _positions(client, flow_runs)
    names = {key: f"{flows.get(one.flow_id, '?')}/{one.name}" for key, one in deployments.items()}
    active = [run for run in flow_runs if run.state_type in (StateType.RUNNING, StateType.PENDING)]
    runs = []
    for run in flow_runs:
        others = [other for other in active if other.deployment_id == run.deployment_id and other.id != run.id]
        others = others if run.deployment_id else []
        runs.append(_run_status(run, flows, names, workers, others, cluster, positions.get(run.id, "")))
    going_on = {job for run in runs for job in run.jobs}
    strays = [job.submission_id for job in cluster.jobs if not job.is_over] if cluster else []
    return Status(
        runs=tuple(runs),
        strays=tuple(job for job in strays if job not in going_on),
        workers=tuple(workers),
        cluster=cluster,
        cluster_error=cluster_error,
    )


# --- Prefect --------------------------------------------------------------------------------------------------------


def _flow_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """Returns the last runs that ended, then the unfinished ones; of a schedule's next runs only the first."""
    unfinished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)))
    ended = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=UNFINISHED)))
    going_on = client.read_flow_runs(flow_run_filter=unfinished, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
    over = client.read_flow_runs(flow_run_filter=ended, sort=FlowRunSort.END_TIME_DESC, limit=NUM_ENDED)
    kept, planned = [], set()
    for run in going_on:
        if run.state_type == StateType.SCHEDULED and run.auto_scheduled and not _is_due(run):
            if run.deployment_id in planned:
                continue
            planned.add(run.deployment_id)
        kept.append(run)
    return [*reversed(over), *kept]


def _workers(client: SyncPrefectClient) -> list[Workers]:
    return [
        Workers(
            pool=pool.name,
            num_online=sum(worker.status == ONLINE for worker in client.read_workers_for_work_pool(pool.name)),
            is_paused=bool(pool.is_paused),
            limit=pool.concurrency_limit,
        )
        for pool in client.read_work_pools()
    ]


def _is_due(run: FlowRun) -> bool:
    return run.expected_start_time is None or run.expected_start_time <= datetime.now(UTC)


def _run_status(
    run: FlowRun,
    flows: Mapping[UUID, str],
    deployments: Mapping[UUID, str],
    workers: Sequence[Workers],
    others: Sequence[FlowRun],
    cluster: ClusterStatus | None,
    position: str,
) -> RunStatus:
    flow = flows.get(run.flow_id, "?")
    is_over = run.state is not None and run.state.is_final()
    jobs = [] if is_over or cluster is None else jobs_of(run, flow, cluster)
    waits_for = "" if is_over else why(run, workers, others, jobs, cluster)
    return RunStatus(
        flow=flow,
        name=run.name,
        flow_run_id=str(run.id),
        state=run.state_name or "",
        since=run.state.timestamp if run.state else None,
        deployment=deployments.get(run.deployment_id) if run.deployment_id else None,
        jobs=tuple(job.submission_id for job in jobs),
        progress=(run.state.message or "") if is_over and run.state else position,
        waits_for=waits_for,
    )


def jobs_of(run: FlowRun, flow: str, cluster: ClusterStatus) -> list[JobStatus]:
    """Returns the jobs of a flow run that are not over; their names derive from its own."""
    own = identities_of(flow, run)
    return [job for job in cluster.jobs if not job.is_over and job.submission_id.rpartition("-")[0] in own]


def _positions(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> dict[UUID, str]:
    """Returns the position in words of each flow run whose job reports progress: the description of its last artifact."""
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run.id for run in runs]),
        type=ArtifactFilterType(any_=["progress"]),
    )
    artifacts = client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.UPDATED_DESC) if runs else []
    return {one.flow_run_id: one.description or "" for one in reversed(artifacts) if one.flow_run_id}


# --- why ------------------------------------------------------------------------------------------------------------


def why(
    run: FlowRun,
    workers: Sequence[Workers],
    others: Sequence[FlowRun],
    jobs: Sequence[JobStatus],
    cluster: ClusterStatus | None,
) -> str:
    """Returns the obstacle of a flow run that has not ended; empty if it is running.

    Args:
        run: The flow run.
        workers: Workers of each work pool.
        others: Runs of the same deployment that have begun.
        jobs: The run's own jobs on the cluster.
        cluster: The cluster; None if it does not answer.
    """
    if run.state_type == StateType.PAUSED:
        return f"a person's decision: betaline approve {run.name}"
    if run.state_type == StateType.CANCELLING:
        return "its process, to stop its job"
    if run.state_type in (StateType.SCHEDULED, StateType.PENDING):
        return _why_not_started(run, workers, others)
    if cluster is None:
        return "the Ray cluster, which does not answer"
    for job in jobs:
        if job.status == "PENDING":
            return f"job {job.submission_id} to start: {job.message or 'its driver has no place yet'}"
        if job.demands:
            return "; ".join(explain(demand, cluster) for demand in job.demands)
    return ""


def _why_not_started(run: FlowRun, workers: Sequence[Workers], others: Sequence[FlowRun]) -> str:
    if run.state_type == StateType.SCHEDULED and not _is_due(run):
        return f"{run.expected_start_time:%Y-%m-%d %H:%M:%S} UTC"
    pool = next((one for one in workers if one.pool == run.work_pool_name), None)
    if pool is None:
        return "the process that has begun it" if run.deployment_id is None else "a work pool: its own is gone"
    if pool.is_paused:
        return f"work pool {pool.pool}, which is paused: prefect work-pool resume {pool.pool}"
    if not pool.num_online:
        return f"a worker: none polls pool {pool.pool}; start one with betaline worker --pool {pool.pool}"
    if others:
        return f"{others[0].name}, a run of the same deployment that is going on"
    if run.state_type == StateType.PENDING:
        return "its process, which is starting"
    limit = f", which runs {pool.limit} at once" if pool.limit else ""
    return f"a free worker of pool {pool.pool}{limit}"


def explain(demand: Demand, cluster: ClusterStatus) -> str:
    """Returns why a demand is not met: `asked for 4 × (1 GPU): the cluster has 2 GPU, 1 in use by train-7-0`."""
    total = demand.total
    parts = []
    for kind, amount in total.items():
        has, used = cluster.total.get(kind, 0.0), cluster.held.get(kind, 0.0)
        if amount <= has - used:
            continue
        users = [other.submission_id for other in cluster.jobs if other.held.get(kind)]
        by = f", {used:g} in use by {', '.join(users)}" if users else ""
        never = " and never will be enough: add nodes, or ask for less" if amount > has else ""
        parts.append(f"the cluster has {has:g} {kind}{by}{never}")
    if not parts:
        tallest = in_words({kind: cluster.largest_node.get(kind, 0.0) for kind in total})
        parts.append(f"which is free in all, and no node has room for a part of it: the largest has {tallest}")
    return f"asked for {demand}: {'; '.join(parts)}"
