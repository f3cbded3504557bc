"""Deployments in Prefect: what a worker runs, when it runs by itself, and what happens when a run is still going on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from pydantic import ValidationError

from pipelines import flows
from pipelines.requests import TrainRequest, TuneRequest
from vae.errors import ConfigError, ServiceError

POOL = "betaline"
SCHEDULED = ("train", "tune")
"""Flows that a schedule on the command line may run: those that are asked for a dataset and a configuration."""
Overlap = Literal["queue", "refuse"]
TAG = "betaline-schedule"


@dataclass(frozen=True)
class Scheduled:
    """A flow that runs by itself."""

    flow: str
    name: str
    """Of the deployment, which is that of the model."""
    when: str
    """A cron line with its time zone, or seconds."""
    is_active: bool
    next_run: datetime | None
    """None where it is paused, or the scheduler has not looked at it yet."""


def deploy(prefect_file: Path, pool: str = POOL) -> list[str]:
    """Registers every flow of a `prefect.yaml` on a process work pool, which is made where it is missing.

    Returns:
        The deployments of the server, as FLOW/NAME.

    Raises:
        ConfigError: If there is no such file.
        ServiceError: If Prefect refuses.
    """
    if not prefect_file.is_file():
        raise ConfigError(f"{prefect_file} is not there; give the prefect.yaml of a checkout with --file")
    _ensure_pool(pool)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--pool", pool]
    done = subprocess.run(
        [*command, "--prefect-file", str(prefect_file.absolute())],
        cwd=prefect_file.absolute().parent,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ServiceError(
            f"prefect deploy failed with {done.returncode}:\n{(done.stdout + done.stderr).strip()[-2000:]}"
        )
    with _client() as client:
        return sorted(_full_name(client, deployment) for deployment in client.read_deployments())


def schedule(
    flow: str,
    request: TrainRequest | TuneRequest,
    *,
    cron: str | None = None,
    every_seconds: float | None = None,
    timezone: str = "UTC",
    overlap: Overlap = "queue",
    pool: str = POOL,
) -> Scheduled:
    """Lets a flow run by itself; a schedule of the same flow and model is replaced.

    Args:
        flow: One of `SCHEDULED`.
        request: What it is asked each time; a dataset's name means its newest version at that time.
        cron: Five fields, such as `0 2 * * *`.
        every_seconds: Instead of `cron`.
        timezone: Of the cron line, such as Europe/Vienna.
        overlap: What becomes of a run that is due while another one of this schedule is running.
        pool: The work pool whose worker runs it.

    Raises:
        ConfigError: If the flow, the cron line or the time zone is none, or not exactly one of cron and seconds is given.
    """
    if flow not in SCHEDULED:
        raise ConfigError(f"schedule: expected one of {', '.join(SCHEDULED)}, got {flow!r}")
    times = _times(cron, every_seconds, timezone)
    _ensure_pool(pool)
    strategy = ConcurrencyLimitStrategy.ENQUEUE if overlap == "queue" else ConcurrencyLimitStrategy.CANCEL_NEW
    # Prefect's flows are made for its asynchronous callers too, and say so in their types.
    deployment = cast(Any, getattr(flows, flow)).to_deployment(
        name=request.name,
        parameters={"request": request.model_dump(mode="json")},
        schedules=[times],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=strategy),
        work_pool_name=pool,
        tags=[TAG],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.apply()
    return found(flow, request.name)


def schedules() -> list[Scheduled]:
    """All that runs by itself, also what `prefect.yaml` schedules."""
    with _client() as client:
        return [
            _scheduled(client, deployment, one)
            for deployment in client.read_deployments()
            for one in deployment.schedules
        ]


def found(flow: str, name: str) -> Scheduled:
    """A schedule by its flow and its model.

    Raises:
        ConfigError: If there is none; says what there is.
    """
    with _client() as client:
        deployment, one = _of(client, flow, name)
        return _scheduled(client, deployment, one)


def pause(flow: str, name: str, *, active: bool = False) -> Scheduled:
    """Keeps a schedule from starting runs, or lets it start them again; see `found`."""
    with _client() as client:
        deployment, one = _of(client, flow, name)
        client.update_deployment_schedule(deployment.id, one.id, active=active)
    return found(flow, name)


def remove(flow: str, name: str) -> None:
    """Forgets a schedule and, where the command line has made it, its deployment; see `found`."""
    with _client() as client:
        deployment, one = _of(client, flow, name)
        if TAG in deployment.tags:
            client.delete_deployment(deployment.id)
        else:
            client.delete_deployment_schedule(deployment.id, one.id)


def _times(cron: str | None, every_seconds: float | None, timezone: str) -> CronSchedule | IntervalSchedule:
    if (cron is None) == (every_seconds is None):
        raise ConfigError("schedule: give either --cron, such as '0 2 * * *', or --every with seconds")
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(
            f"schedule: {timezone!r} is no time zone; expected one such as Europe/Vienna or UTC"
        ) from None
    try:
        if cron is not None:
            return CronSchedule(cron=cron, timezone=timezone)
        return IntervalSchedule(interval=timedelta(seconds=cast(float, every_seconds)), timezone=timezone)
    except ValidationError as error:
        given = f"--cron {cron!r}" if cron is not None else f"--every {every_seconds:g}"
        said = error.errors()[0]["msg"]
        raise ConfigError(f"schedule: {given}: {said}; expected five fields, or seconds above 0") from None


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def _ensure_pool(pool: str) -> None:
    with _client() as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))


def _of(client: SyncPrefectClient, flow: str, name: str) -> tuple[DeploymentResponse, DeploymentSchedule]:
    try:
        deployment = client.read_deployment_by_name(f"{flow}/{name}")
    except ObjectNotFound:
        deployment = None
    if deployment is None or not deployment.schedules:
        there = ", ".join(f"{one.flow}/{one.name}" for one in schedules()) or "nothing"
        raise ConfigError(f"no schedule {flow}/{name}; scheduled: {there}")
    return deployment, deployment.schedules[0]


def _scheduled(client: SyncPrefectClient, deployment: DeploymentResponse, one: DeploymentSchedule) -> Scheduled:
    match one.schedule:
        case CronSchedule(cron=cron, timezone=timezone):
            when = f"{cron} {timezone or 'UTC'}"
        case IntervalSchedule(interval=interval):
            when = f"every {interval.total_seconds():g} s"
        case other:
            when = str(other)
    flow, _, name = _full_name(client, deployment).partition("/")
    runs = client.get_scheduled_flow_runs_for_deployments([cast(UUID, deployment.id)])
    times = [run.next_scheduled_start_time for run in runs if run.next_scheduled_start_time is not None]
    return Scheduled(flow, name, when, one.active, min(times) if one.active and times else None)


def _full_name(client: SyncPrefectClient, deployment: DeploymentResponse) -> str:
    return f"{client.read_flow(deployment.flow_id).name}/{deployment.name}"
