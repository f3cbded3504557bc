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
from prefect.events.schemas.automations import Automation
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from pydantic import ValidationError

from pipelines.flows import events, heartbeats
from pipelines.flows import stages as flows
from pipelines.flows.events import Occasion
from pipelines.flows.requests import DriftRequest, IngestConfig, TrainRequest, TuneRequest
from vae.errors import ConfigError, ServiceError

POOL = "betaline"
SCHEDULED = ("train", "tune", "watch", "drift")
"""Flows that may run by themselves from the command line."""
Overlap = Literal["queue", "refuse"]
Starter = DeploymentSchedule | Automation
"""What starts a deployment's runs: the time, or an event."""
TAG = "betaline-schedule"
JOB_VARIABLES = {"env": {"PREFECT_CLIENT_RETRY_EXTRA_CODES": "500", "PREFECT_CLIENT_MAX_RETRIES": "7"}}
"""Of a run's process, here and in `prefect.yaml`. A Prefect server whose database is away answers 500, which its clients
take for final: a run that ends just then would be shown as running for ever. So they try again, for about four minutes."""


@dataclass(frozen=True)
class Scheduled:
    """A flow that runs by itself."""

    flow: str
    name: str
    """Of the deployment, which is that of the model."""
    when: str
    """A cron line with its time zone, seconds, or the event that starts it."""
    is_active: bool
    next_run: datetime | None
    """None where it is paused, waits for an event, or the scheduler has not looked at it yet."""


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
    ensure_pool(pool)
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
    request: TrainRequest | TuneRequest | IngestConfig | DriftRequest,
    *,
    cron: str | None = None,
    every_seconds: float | None = None,
    on: Occasion | None = None,
    timezone: str = "UTC",
    overlap: Overlap | None = None,
    pool: str = POOL,
) -> Scheduled:
    """Lets a flow run by itself; what started the same flow for the same name before is replaced.

    Args:
        flow: One of `SCHEDULED`.
        request: What it is asked each time; a dataset's name means its newest version at that time.
        cron: Five fields, such as `0 2 * * *`.
        every_seconds: Instead of `cron`.
        on: Instead of both: `data`, each new dataset of the name that the request trains on; or `drift` of the model.
        timezone: Of the cron line, such as Europe/Vienna.
        overlap: What becomes of a run that is due while another one of this schedule is running; by default it is queued,
            but for a look at a watched source, which the next look makes good.
        pool: The work pool whose worker runs it.

    Raises:
        ConfigError: If the flow, the cron line or the time zone is none, or not just one of cron, seconds and occasion is
            given.
    """
    if flow not in SCHEDULED:
        raise ConfigError(f"schedule: expected one of {', '.join(SCHEDULED)}, got {flow!r}")
    if [cron, every_seconds, on].count(None) != 2:
        raise ConfigError(
            "schedule: give one of --cron, such as '0 2 * * *', --every with seconds, and --on with an event"
        )
    if on is not None and flow not in ("train", "tune"):
        raise ConfigError(f"schedule: --on {on} starts train or tune; {flow} looks by itself: give --every or --cron")
    schedules = [] if on else [_times(cron, every_seconds, timezone)]
    triggers = [events.trigger(on, _subject(on, request))] if on else []
    ensure_pool(pool)
    refuses = overlap == "refuse" if overlap else flow == "watch"
    strategy = ConcurrencyLimitStrategy.CANCEL_NEW if refuses else ConcurrencyLimitStrategy.ENQUEUE
    _deployment(
        flow,
        request.name,
        pool,
        parameters={"request": request.model_dump(mode="json")},
        schedules=schedules,
        triggers=triggers,
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=strategy),
        tags=[TAG],
    ).apply()
    if isinstance(request, TrainRequest | TuneRequest) and request.approve:
        ensure_promotion(pool)
    return found(flow, request.name)


def ensure_promotion(pool: str = POOL) -> None:
    """Makes the deployment whose runs wait for a person, unless it is there."""
    ensure_pool(pool)
    flow, _, name = flows.PROMOTION.partition("/")
    with _client() as client, suppress(ObjectNotFound):
        client.read_deployment_by_name(flows.PROMOTION)
        return
    _deployment(flow, name, pool).apply()


def ensure_pool(pool: str = POOL) -> None:
    """Makes the process work pool, unless it is there."""
    with _client() as client:
        heartbeats.watch(client)
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))


def schedules() -> list[Scheduled]:
    """All that runs by itself, also what `prefect.yaml` schedules."""
    with _client() as client:
        return [
            _scheduled(client, deployment, one)
            for deployment in client.read_deployments()
            for one in _starters(client, deployment)
        ]


def found(flow: str, name: str) -> Scheduled:
    """What starts a flow for a name.

    Raises:
        ConfigError: If nothing does; says what there is.
    """
    with _client() as client:
        deployment, one = _of(client, flow, name)
        return _scheduled(client, deployment, one)


def pause(flow: str, name: str, *, active: bool = False) -> Scheduled:
    """Keeps a schedule from starting runs, or lets it start them again; see `found`."""
    with _client() as client:
        deployment, one = _of(client, flow, name)
        if isinstance(one, Automation):
            (client.resume_automation if active else client.pause_automation)(one.id)
        else:
            client.update_deployment_schedule(deployment.id, one.id, active=active)
    return found(flow, name)


def remove(flow: str, name: str) -> None:
    """Forgets a schedule and, where the command line has made it, its deployment; see `found`."""
    with _client() as client:
        deployment, one = _of(client, flow, name)
        if isinstance(one, Automation):
            client.delete_automation(one.id)
        if TAG in deployment.tags:
            client.delete_deployment(deployment.id)
        elif isinstance(one, DeploymentSchedule):
            client.delete_deployment_schedule(deployment.id, one.id)


def _deployment(flow: str, name: str, pool: str, **options: Any) -> Any:
    """A deployment that runs the code that is installed where the worker is."""
    # Prefect's flows are made for its asynchronous callers too, and say so in their types.
    return cast(Any, getattr(flows, flow)).to_deployment(
        name=name,
        work_pool_name=pool,
        job_variables=JOB_VARIABLES,
        entrypoint_type=EntrypointType.MODULE_PATH,
        **options,
    )


def _subject(on: Occasion, request: Any) -> str:
    """The name that an event is about: of the dataset that a request trains on, or of its model."""
    if on == "drift":
        return request.name
    parts = request.dataset.rstrip("/").split("/")
    if len(parts) > 1 or "@" in request.dataset:
        raise ConfigError(
            f"schedule: --on data trains on the newest dataset of a name, and {request.dataset!r} is always the same one"
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
        said = error.errors()[0]["msg"]
        raise ConfigError(f"schedule: {given}: {said}; expected five fields, or seconds above 0") from None


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def _starters(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[Starter]:
    """What starts a deployment's runs."""
    owned = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    return [*deployment.schedules, *owned]


def _of(client: SyncPrefectClient, flow: str, name: str) -> tuple[DeploymentResponse, Starter]:
    try:
        deployment = client.read_deployment_by_name(f"{flow}/{name}")
    except ObjectNotFound:
        deployment = None
    starters = _starters(client, deployment) if deployment else []
    if deployment is None or not starters:
        there = ", ".join(f"{one.flow}/{one.name}" for one in schedules()) or "nothing"
        raise ConfigError(f"no schedule {flow}/{name}; scheduled: {there}")
    return deployment, starters[0]


def _scheduled(client: SyncPrefectClient, deployment: DeploymentResponse, one: Starter) -> Scheduled:
    flow, _, name = _full_name(client, deployment).partition("/")
    if isinstance(one, Automation):
        return Scheduled(flow, name, one.description, one.enabled, None)
    match one.schedule:
        case CronSchedule(cron=cron, timezone=timezone):
            when = f"{cron} {timezone or 'UTC'}"
        case IntervalSchedule(interval=interval):
            when = f"every {interval.total_seconds():g} s"
        case other:
            when = str(other)
    runs = client.get_scheduled_flow_runs_for_deployments([cast(UUID, deployment.id)])
    times = [run.next_scheduled_start_time for run in runs if run.next_scheduled_start_time is not None]
    return Scheduled(flow, name, when, one.active, min(times) if one.active and times else None)


def _full_name(client: SyncPrefectClient, deployment: DeploymentResponse) -> str:
    return f"{client.read_flow(deployment.flow_id).name}/{deployment.name}"
