"""Deployments in Prefect: the flows that a worker runs, the times and events that start them, and overlapping runs."""

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
from prefect.events.schemas.automations import Automation
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import Flow
from prefect.types.entrypoint import EntrypointType
from pydantic import ValidationError

from pipelines.flows.apply import apply
from pipelines.flows.drift import drift
from pipelines.flows.ingest import ingest, watch
from pipelines.flows.pipeline import pipeline
from pipelines.flows.promote import PROMOTION, promote
from pipelines.flows.report import report
from pipelines.flows.train import train
from pipelines.flows.tune import tune
from pipelines.operating import heartbeats
from pipelines.operating.triggers import TRIGGERS
from pipelines.services.embedded import HEARTBEAT_SECONDS, HEARTBEATS
from pipelines.stages.drift import DriftRequest
from pipelines.stages.ingest import IngestConfig
from pipelines.stages.train import TrainRequest
from pipelines.stages.tune import TuneRequest
from vae.errors import ConfigError, ServiceError

Request = TrainRequest | TuneRequest | IngestConfig | DriftRequest
Overlap = Literal["queue", "refuse"]
Starter = DeploymentSchedule | Automation
"""A schedule, or an event's automation: either starts a deployment's runs."""

FLOWS: dict[str, Flow[..., Any]] = {
    flow.name: cast(Flow[..., Any], flow)
    for flow in (ingest, watch, tune, train, promote, apply, drift, report, pipeline)
}
"""All flows by name."""
SCHEDULED: dict[str, Overlap] = {"train": "queue", "tune": "queue", "watch": "refuse", "drift": "queue"}
"""Flows that the command line schedules, and the default for a run that is due while another one is running."""
TRIGGERED = ("train", "tune")
"""Flows that an event can start."""
POOL = "betaline"
"""Name of the work pool."""
TAG = "betaline-schedule"
"""Tag of deployments that the command line made."""
JOB_VARIABLES = {
    "env": {
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
        "PREFECT_CLIENT_MAX_RETRIES": "7",
        HEARTBEATS: str(HEARTBEAT_SECONDS),
    }
}
"""Environment of a run's process, here and in `prefect.yaml`. A Prefect server whose database is away answers 500, which
its clients take for final, and a run that ends at that moment would be shown as running for ever. With these variables
the clients try again for about four minutes."""
PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
"""Deployments of all flows."""


@dataclass(frozen=True)
class Scheduled:
    """A flow that a schedule or an event starts."""

    flow: str
    """Name of the flow."""
    name: str
    """Name of the deployment, which is the name of the model, or of the dataset to watch."""
    when: str
    """Cron line with its time zone, interval in seconds, or event that starts the flow."""
    is_active: bool
    """Whether the schedule starts runs; false while it is paused."""
    next_run: datetime | None
    """Time of the next run; None if it is paused, started by an event, or new to the scheduler."""


def deploy(prefect_file: Path | None = None, pool: str = POOL) -> list[str]:
    """Registers every flow of a `prefect.yaml` on a process work pool, and creates the pool if it is missing.

    Args:
        prefect_file: File of the deployments, whose folder is the working directory of their runs; None means all flows,
            which run in the current directory.
        pool: Name of the work pool.

    Returns:
        The deployments of the server, as FLOW/NAME.

    Raises:
        ConfigError: If there is no such file.
        ServiceError: If Prefect refuses.
    """
    if prefect_file is not None and not prefect_file.is_file():
        raise ConfigError(f"{prefect_file}: there is no such file; without --file every flow of betaline is registered")
    ensure_pool(pool)
    file = (prefect_file or PREFECT_FILE).absolute()
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--pool", pool]
    done = subprocess.run(
        [*command, "--prefect-file", str(file)],
        cwd=file.parent if prefect_file else Path.cwd(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        output = (done.stdout + done.stderr).strip()[-2000:]
        raise ServiceError(f"prefect deploy failed with {done.returncode}:\n{output}")
    with _client() as client:
        return sorted(_full_name(client, deployment) for deployment in client.read_deployments())


def schedule(
    flow: str,
    request: Request,
    *,
    cron: str | None = None,
    every_seconds: float | None = None,
    on: str | None = None,
    timezone: str = "UTC",
    overlap: Overlap | None = None,
) -> Scheduled:
    """Schedules a flow and replaces an earlier schedule of the same flow and name.

    Args:
        flow: One of `SCHEDULED`.
        request: Request of each run; a dataset's name means its newest version at the time of the run.
        cron: Five fields, such as `0 2 * * *`.
        every_seconds: Seconds between runs, instead of `cron`.
        on: One of `TRIGGERS`, whose events start the runs, instead of both.
        timezone: Time zone of the cron line, such as Europe/Vienna.
        overlap: Whether a run that is due while another one of this schedule is running is queued or refused; None takes
            the default of the flow.

    Raises:
        ConfigError: If the flow cannot be scheduled, the cron line or the time zone is invalid, or not exactly one of cron,
            seconds and event is given.
    """
    _check_starter(flow, cron, every_seconds, on)
    starts = {
        "schedules": [] if on else [_times(cron, every_seconds, timezone)],
        "triggers": [TRIGGERS[on].of(_subject(on, request))] if on else [],
    }
    ensure_pool()
    strategies = {"refuse": ConcurrencyLimitStrategy.CANCEL_NEW, "queue": ConcurrencyLimitStrategy.ENQUEUE}
    limit = ConcurrencyLimitConfig(limit=1, collision_strategy=strategies[overlap or SCHEDULED[flow]])
    parameters = {"request": request.model_dump(mode="json")}
    _deployment(flow, request.name, POOL, parameters=parameters, concurrency_limit=limit, tags=[TAG], **starts).apply()
    if isinstance(request, TrainRequest | TuneRequest) and request.approve:
        ensure_promotion()
    return scheduled(flow, request.name)


def ensure_promotion(pool: str = POOL) -> None:
    """Creates the deployment whose runs wait for a person if it is missing."""
    ensure_pool(pool)
    flow, _, name = PROMOTION.partition("/")
    with _client() as client, suppress(ObjectNotFound):
        client.read_deployment_by_name(PROMOTION)
        return
    _deployment(flow, name, pool).apply()


def watch_for_silence() -> None:
    """Makes the server notice flow runs whose process or machine dies, also where nothing was ever deployed."""
    with _client() as client:
        heartbeats.watch(client, list(FLOWS))


def ensure_pool(pool: str = POOL) -> None:
    """Creates the process work pool if it is missing."""
    with _client() as client:
        heartbeats.watch(client, list(FLOWS))
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))


def schedules() -> list[Scheduled]:
    """Returns all scheduled flows, those of `prefect.yaml` included."""
    with _client() as client:
        return [
            _described(client, deployment, starter)
            for deployment in client.read_deployments()
            for starter in _starters(client, deployment)
        ]


def scheduled(flow: str, name: str) -> Scheduled:
    """Returns the schedule of a flow and a name.

    Raises:
        ConfigError: If there is none; lists the schedules that exist.
    """
    with _client() as client:
        return _described(client, *_existing(client, flow, name))


def pause(flow: str, name: str, *, active: bool = False) -> Scheduled:
    """Keeps a schedule from starting runs, or lets it start them again; raises as `scheduled` does."""
    with _client() as client:
        deployment, starter = _existing(client, flow, name)
        if isinstance(starter, Automation):
            (client.resume_automation if active else client.pause_automation)(starter.id)
        else:
            client.update_deployment_schedule(deployment.id, starter.id, active=active)
    return scheduled(flow, name)


def remove(flow: str, name: str) -> None:
    """Deletes a schedule and, if the command line made it, its deployment; raises as `scheduled` does."""
    with _client() as client:
        deployment, starter = _existing(client, flow, name)
        if isinstance(starter, Automation):
            client.delete_automation(starter.id)
        if TAG in deployment.tags:
            client.delete_deployment(deployment.id)
        elif isinstance(starter, DeploymentSchedule):
            client.delete_deployment_schedule(deployment.id, starter.id)


def _deployment(flow: str, name: str, pool: str, **options: Any) -> Any:
    """Returns a deployment that runs the code that is installed on the worker's machine."""
    # Prefect's type also allows a coroutine, which only asynchronous callers get.
    return cast(Any, FLOWS[flow]).to_deployment(
        name=name,
        work_pool_name=pool,
        job_variables=JOB_VARIABLES,
        entrypoint_type=EntrypointType.MODULE_PATH,
        **options,
    )


def _check_starter(flow: str, cron: str | None, every_seconds: float | None, on: str | None) -> None:
    if flow not in SCHEDULED:
        raise ConfigError(f"schedule: expected one of {', '.join(SCHEDULED)}, got {flow!r}")
    if on is not None and on not in TRIGGERS:
        raise ConfigError(f"--on {on}: expected {' or '.join(TRIGGERS)}")
    if [cron, every_seconds, on].count(None) != 2:
        raise ConfigError(
            "schedule: give one of --cron, such as '0 2 * * *', --every with seconds, and --on with an event"
        )
    if on is not None and flow not in TRIGGERED:
        raise ConfigError(
            f"schedule: --on {on} starts {' or '.join(TRIGGERED)}; {flow} looks by itself: give --every or --cron"
        )


def _subject(on: str, request: Any) -> str:
    """Returns the name that an event is about: that of the request's dataset, or of its model."""
    if TRIGGERS[on].about == "model":
        return request.name
    if "/" in request.dataset.rstrip("/") or "@" in request.dataset:
        raise ConfigError(
            f"schedule: --on {on} trains on the newest dataset of a name, and {request.dataset!r} is always the same one"
        )
    return request.dataset


def _times(cron: str | None, every_seconds: float | None, timezone: str) -> CronSchedule | IntervalSchedule:
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
        reason = error.errors()[0]["msg"]
        raise ConfigError(f"schedule: {given}: {reason}; expected five fields, or seconds above 0") from None


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def _starters(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[Starter]:
    owned = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    return [*deployment.schedules, *owned]


def _existing(client: SyncPrefectClient, flow: str, name: str) -> tuple[DeploymentResponse, Starter]:
    with suppress(ObjectNotFound):
        deployment = client.read_deployment_by_name(f"{flow}/{name}")
        if starters := _starters(client, deployment):
            return deployment, starters[0]
    listed = ", ".join(f"{one.flow}/{one.name}" for one in schedules()) or "nothing"
    raise ConfigError(f"no schedule {flow}/{name}; scheduled: {listed}")


def _described(client: SyncPrefectClient, deployment: DeploymentResponse, starter: Starter) -> Scheduled:
    flow, _, name = _full_name(client, deployment).partition("/")
    if isinstance(starter, Automation):
        return Scheduled(flow, name, starter.description, starter.enabled, None)
    match starter.schedule:
        case CronSchedule(cron=cron, timezone=timezone):
            when = f"{cron} {timezone or 'UTC'}"
        case IntervalSchedule(interval=interval):
            when = f"every {interval.total_seconds():g} s"
        case other:
            when = str(other)
    runs = client.get_scheduled_flow_runs_for_deployments([cast(UUID, deployment.id)])
    times = [run.next_scheduled_start_time for run in runs if run.next_scheduled_start_time is not None]
    return Scheduled(flow, name, when, starter.active, min(times) if starter.active and times else None)


def _full_name(client: SyncPrefectClient, deployment: DeploymentResponse) -> str:
    return f"{client.read_flow(deployment.flow_id).name}/{deployment.name}"
