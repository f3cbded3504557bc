"""Deployments on a work pool: a schedule trains by itself, and a cancelled run gives its CPUs back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling

from pipelines.cluster import available_cpus, total_cpus
from pipelines.flows import identity_of
from pipelines.requests import TrainRequest
from pipelines.runs import RunFolder
from pipelines.services import Services
from vae.config import RunConfig, override
from vae.errors import ConfigError

ROOT = Path(__file__).parents[2]
CPUS_FREE_SECONDS = 15.0


@pytest.fixture(scope="module")
def prefect(services: Services) -> Iterator[SyncPrefectClient]:
    """A client of a server that has every deployment of prefect.yaml, with a worker on their pool."""
    from pipelines import deployments

    assert "pipeline/default" in deployments.deploy(ROOT / "prefect.yaml")
    environment = {**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", deployments.POOL],
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


def test_schedule_trains_by_itself_until_it_is_removed(
    prefect: SyncPrefectClient, digits: dict[str, Any], tiny: RunConfig
) -> None:
    """What `betaline schedule` makes is listed with its next run, starts a run that leaves a trained model, is paused, and
    goes."""
    from pipelines import deployments

    request = TrainRequest(dataset="digits", name="by-itself", config=tiny)
    made = deployments.schedule("train", request, every_seconds=15)
    assert (made.flow, made.name, made.when, made.is_active) == ("train", "by-itself", "every 15 s", True)
    deployment = prefect.read_deployment_by_name("train/by-itself")
    listed = _wait_for(lambda: [one for one in deployments.schedules() if one.next_run], 60, "a next run to be listed")
    assert {(one.flow, one.name) for one in listed} <= {("train", "by-itself"), ("train", "nightly")}
    run = _wait_for(lambda: _first_started(prefect, deployment.id), 90, "the schedule to start a run")
    paused = deployments.pause("train", "by-itself")
    assert not paused.is_active
    assert paused.next_run is None
    assert run.auto_scheduled
    ended = _wait_for(lambda: _ended(prefect, run), 180, "the run to end")
    assert ended.state is not None
    assert ended.state.type == StateType.COMPLETED, ended.state.message
    result = RunFolder(os.environ["BETALINE_HOME"], identity_of("train", str(run.id), None)).read("result.json")
    assert result is not None
    assert len(result["history"]) == 3
    deployments.remove("train", "by-itself")
    with pytest.raises(ConfigError, match=r"no schedule train/by-itself; scheduled: train/nightly"):
        deployments.found("train", "by-itself")


@pytest.mark.parametrize(
    ("flow", "times", "message"),
    [
        ("promote", {"cron": "0 2 * * *"}, "expected one of train, tune, got 'promote'"),
        ("train", {"cron": "0 2 * *"}, "schedule: --cron '0 2 [*] [*]': .*; expected five fields"),
        ("train", {"every_seconds": 0.0}, "schedule: --every 0: .*; expected five fields, or seconds above 0"),
        ("train", {}, "give either --cron, such as '0 2 [*] [*] [*]', or --every with seconds"),
        (
            "train",
            {"cron": "0 2 * * *", "timezone": "Europe/Wien"},
            "'Europe/Wien' is no time zone; expected one such as",
        ),
    ],
)
def test_bad_schedule_is_refused(services: Services, flow: str, times: dict[str, Any], message: str) -> None:
    """A flow that is not scheduled, a line that is none, no interval, neither, and a place that has no clock."""
    from pipelines import deployments

    with pytest.raises(ConfigError, match=message):
        deployments.schedule(flow, TrainRequest(dataset="digits", name="never"), **times)


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
