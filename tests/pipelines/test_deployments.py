"""Deployments on a work pool: a schedule trains by itself, and a cancelled run gives its CPUs back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.states import Cancelling

from pipelines.cluster import available_cpus, total_cpus
from pipelines.flows import identity_of
from pipelines.runs import RunFolder
from pipelines.services import Services
from vae.config import RunConfig, override

ROOT = Path(__file__).parents[2]
CPUS_FREE_SECONDS = 15.0


@pytest.fixture(scope="module")
def prefect(services: Services) -> Iterator[SyncPrefectClient]:
    """A client of a server that has every deployment of prefect.yaml, with a worker on their pool."""
    command = [sys.executable, "-m", "prefect"]
    environment = {**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    for arguments in (["work-pool", "create", "betaline", "--type", "process"], ["--no-prompt", "deploy", "--all"]):
        done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    worker = subprocess.Popen(
        [*command, "worker", "start", "--pool", "betaline"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with get_client(sync_client=True) as client:
        yield client
    worker.terminate()
    try:
        worker.wait(timeout=60)
    except subprocess.TimeoutExpired:  # a flow run's process may take its time, and no later test is to meet it
        for process in (*psutil.Process(worker.pid).children(recursive=True), worker):
            process.kill()
        worker.wait()


def test_deployments_have_forms_and_a_nightly_schedule(prefect: SyncPrefectClient) -> None:
    """Each flow is deployed, its parameters have a schema with descriptions, and training is on a cron schedule."""
    others = ("ingest/default", "tune/default", "promote/default", "pipeline/default", "apply/default")
    names = ("train/nightly", *others)
    found = {name: prefect.read_deployment_by_name(name) for name in names}
    for deployment in found.values():
        assert "request" in deployment.parameter_openapi_schema["properties"]
    assert found["train/nightly"].schedules[0].schedule.cron == "0 2 * * *"
    definitions = found["train/nightly"].parameter_openapi_schema["definitions"]
    assert definitions["ObjectiveConfig"]["properties"]["beta"]["description"].startswith("Weight of the rate.")


def test_scheduled_deployment_trains_by_itself(
    prefect: SyncPrefectClient, digits: dict[str, Any], tiny: RunConfig
) -> None:
    """A schedule some seconds ahead runs on the worker, and leaves a trained model. It comes again each half minute: a time
    that has passed before the server has read the schedule is not made up for."""
    deployment = prefect.read_deployment_by_name("train/nightly")
    request = {"dataset": "digits", "name": "digits", "config": tiny.model_dump(mode="json")}
    prefect.update_deployment(deployment.id, _with_parameters(deployment, {"request": request}))
    schedule = IntervalSchedule(
        interval=timedelta(seconds=30), anchor_date=datetime.now(UTC) + timedelta(seconds=8), timezone="UTC"
    )
    (created,) = prefect.create_deployment_schedules(deployment.id, [(schedule, True)])
    run = _wait_for(lambda: _first_started(prefect, deployment.id), 90, "the schedule to start a run")
    prefect.delete_deployment_schedule(deployment.id, created.id)
    assert run.auto_scheduled
    ended = _wait_for(lambda: _ended(prefect, run), 180, "the run to end")
    assert ended.state is not None
    assert ended.state.type == StateType.COMPLETED, ended.state.message
    result = RunFolder(os.environ["BETALINE_HOME"], identity_of("train", str(run.id), None)).read("result.json")
    assert result is not None
    assert len(result["history"]) == 3


def test_cancelled_run_gives_its_cpus_back(prefect: SyncPrefectClient, digits: dict[str, Any], tiny: RunConfig) -> None:
    """Cancelling a flow run in Prefect stops its Ray job, and its CPUs are free within 15 s."""
    deployment = prefect.read_deployment_by_name("train/nightly")
    endless = override(tiny, {"training.epochs": 100000, "training.patience_epochs": None})
    request = {"dataset": "digits", "name": "digits", "config": endless.model_dump(mode="json")}
    run = prefect.create_flow_run_from_deployment(deployment.id, parameters={"request": request})
    _wait_for(lambda: available_cpus() < total_cpus(), 120, "the run to take a CPU")
    started = time.monotonic()
    prefect.set_flow_run_state(run.id, Cancelling())
    _wait_for(lambda: available_cpus() == total_cpus(), CPUS_FREE_SECONDS, "the CPUs to be free")
    print(f"CPUs were free {time.monotonic() - started:.1f} s after the cancellation")
    ended = _wait_for(lambda: _ended(prefect, run), 60, "the run to be cancelled")
    assert ended.state is not None
    assert ended.state.type == StateType.CANCELLED


def _with_parameters(deployment: Any, parameters: dict[str, Any]) -> Any:
    from prefect.client.schemas.actions import DeploymentUpdate

    return DeploymentUpdate(parameters=parameters)


def _first_started(prefect: SyncPrefectClient, deployment_id: Any) -> FlowRun | None:
    runs = prefect.read_flow_runs()
    started = (StateType.RUNNING, StateType.COMPLETED, StateType.FAILED, StateType.CRASHED)
    return next((r for r in runs if r.deployment_id == deployment_id and r.state_type in started), None)


def _ended(prefect: SyncPrefectClient, run: FlowRun) -> FlowRun | None:
    found = prefect.read_flow_run(run.id)
    return found if found.state is not None and found.state.is_final() else None


def _wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")
