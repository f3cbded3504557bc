"""Drivers of jobs that are killed, and the same command again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipelines.cluster.runs import Event
from pipelines.flows.promote import promote
from pipelines.flows.train import train
from pipelines.models.tracking import IDENTITY
from pipelines.services import Services
from pipelines.stages.promote import PromoteRequest
from pipelines.stages.train import TrainResult
from tests.faults.conftest import STEPS, checkpoints_of
from tests.pipelines.conftest import run_flow
from tests.processes import kill_driver
from tests.trainings import INTERVAL, STEPS_PER_EPOCH, steps_of, weights_of
from vae.errors import ClusterLost

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.timeout(1800)]


def check_one_run(result: TrainResult, identity: str) -> None:
    """MLflow has one run of an identity, finished, with each point of the curve once."""
    client = MlflowClient()
    experiment = client.get_run(result.mlflow_run_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`{IDENTITY}` = '{identity}'")
    assert [(run.info.run_id, run.info.status) for run in runs] == [(result.mlflow_run_id, "FINISHED")]
    curve = client.get_metric_history(result.mlflow_run_id, "validation_negative_elbo")
    assert [point.value for point in curve] == [epoch.validation_negative_elbo for epoch in result.history]


def test_training_whose_driver_is_killed_goes_on(
    services: Services, home: Path, asked: Any, unbroken: Any, measured: Any
) -> None:
    """SIGKILL of every driver until the command gives up: the same command finishes the same MLflow run, and a promotion
    whose driver is killed while it registers leaves one version.
    """
    name = "killed-driver"
    request = asked(1).model_copy(update={"name": name})
    killed: list[tuple[float, int]] = []

    def kill_twice(kind: str, event: Event) -> None:
        if steps_of(event) >= STEPS_PER_EPOCH and len(killed) < 2 and kill_driver(services, "train"):
            killed.append((time.monotonic(), max(checkpoints_of(home, name))))

    with pytest.raises(ClusterLost, match="failed"):
        run_flow(train, request, run=name, listener=kill_twice)
    noticed_seconds = time.monotonic() - killed[-1][0]
    assert len(killed) == 2
    result = run_flow(train, request, run=name)
    assert result.resumed_from_step >= killed[-1][1] >= killed[0][1] > 0
    assert weights_of(result) == unbroken(1)
    check_one_run(result, name)
    registering: list[bool] = []

    def kill_once(kind: str, event: Event) -> None:
        if event.fields.get("what") == "registering" and not registering:
            registering.append(kill_driver(services, "evaluate"))

    promotion = PromoteRequest(run=name, name=name, num_samples=8)
    promoted = run_flow(promote, promotion, run=f"{name}-promote", listener=kill_once)
    assert registering == [True]
    assert promoted.promoted
    assert len(MlflowClient().search_model_versions(f"name = '{name}'")) == 1
    measured(
        "SIGKILL of the job's driver, same command again",
        noticed_seconds=noticed_seconds,
        redone=f"less than {INTERVAL} of {STEPS:,} steps",
        kept="one MLflow run, one version, weights bit-equal",
    )
