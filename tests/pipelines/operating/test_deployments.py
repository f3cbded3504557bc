"""Deployments on a work pool: they have forms, and a schedule trains by itself until it is removed."""

from __future__ import annotations

import os
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType

from pipelines.cluster.runs import RunFolder
from pipelines.data.ingest import IngestResult
from pipelines.flows.ray_job import identity_of
from pipelines.services import Services
from pipelines.stages.train import TrainRequest
from tests.pipelines.conftest import ended
from tests.processes import wait_for
from vae.config import RunConfig
from vae.errors import ConfigError

pytestmark = pytest.mark.servers("flows")


@pytest.mark.slow
@pytest.mark.ci
def test_deployments_have_forms_and_a_nightly_schedule(prefect: SyncPrefectClient) -> None:
    """Each flow is deployed, its parameters have a schema with descriptions, and training is on a cron schedule."""
    from pipelines.operating import deployments

    others = tuple(f"{flow}/default" for flow in ("ingest", "tune", "promote", "pipeline", "apply", "drift", "report"))
    names = ("train/nightly", *others)
    found = {name: prefect.read_deployment_by_name(name) for name in names}
    for deployment in found.values():
        assert "request" in deployment.parameter_openapi_schema["properties"]
        assert deployment.job_variables == deployments.JOB_VARIABLES
    assert found["train/nightly"].schedules[0].schedule.cron == "0 2 * * *"
    definitions = found["train/nightly"].parameter_openapi_schema["definitions"]
    assert definitions["ObjectiveConfig"]["properties"]["beta"]["description"].startswith("Weight β of the rate.")


@pytest.mark.slow
@pytest.mark.ci
def test_schedule_trains_by_itself_until_it_is_removed(
    prefect: SyncPrefectClient, digits: IngestResult, tiny: RunConfig
) -> None:
    """What `betaline schedule` makes is listed with its next run, starts a run that leaves a trained model, is paused, and
    goes.
    """
    from pipelines.operating import deployments

    request = TrainRequest(dataset="digits", name="by-itself", config=tiny)
    made = deployments.schedule("train", request, every_seconds=15)
    assert (made.flow, made.name, made.when, made.is_active) == ("train", "by-itself", "every 15 s", True)
    deployment = prefect.read_deployment_by_name("train/by-itself")
    listed = wait_for(lambda: [one for one in deployments.schedules() if one.next_run], 60, "a next run is listed")
    assert {(one.flow, one.name) for one in listed} <= {("train", "by-itself"), ("train", "nightly")}
    run = wait_for(lambda: _first_started(prefect, deployment.id), 90, "the schedule starts a run")
    paused = deployments.pause("train", "by-itself")
    assert not paused.is_active
    assert paused.next_run is None
    assert run.auto_scheduled
    done = wait_for(lambda: ended(prefect, run), 180, "the run ends")
    assert done.state is not None
    assert done.state.type == StateType.COMPLETED, done.state.message
    result = RunFolder(os.environ["BETALINE_HOME"], identity_of("train", str(run.id), None)).read("result.json")
    assert result is not None
    assert len(result["history"]) == 3
    deployments.remove("train", "by-itself")
    with pytest.raises(ConfigError, match=r"no schedule train/by-itself; scheduled: train/nightly"):
        deployments.scheduled("train", "by-itself")


@pytest.mark.parametrize(
    ("flow", "times", "message"),
    [
        ("promote", {"cron": "0 2 * * *"}, "expected one of train, tune, watch, drift, got 'promote'"),
        ("train", {"cron": "0 2 * *"}, "schedule: --cron '0 2 [*] [*]': .*; expected five fields"),
        ("train", {"every_seconds": 0.0}, "schedule: --every 0: .*; expected five fields, or seconds above 0"),
        ("train", {}, "give one of --cron, such as '0 2 [*] [*] [*]', --every with seconds, and --on with an event"),
        (
            "train",
            {"cron": "0 2 * * *", "timezone": "Europe/Wien"},
            "'Europe/Wien' is no time zone; expected one such as",
        ),
    ],
)
def test_bad_schedule_is_refused(services: Services, flow: str, times: dict[str, Any], message: str) -> None:
    """A flow that is not scheduled, a line that is none, no interval, neither, and a place that has no clock."""
    from pipelines.operating import deployments

    with pytest.raises(ConfigError, match=message):
        deployments.schedule(flow, TrainRequest(dataset="digits", name="never"), **times)


def _first_started(prefect: SyncPrefectClient, deployment_id: Any) -> FlowRun | None:
    runs = prefect.read_flow_runs()
    started = (StateType.RUNNING, StateType.COMPLETED, StateType.FAILED, StateType.CRASHED)
    return next((r for r in runs if r.deployment_id == deployment_id and r.state_type in started), None)
