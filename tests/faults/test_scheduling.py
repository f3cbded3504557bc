"""Deployments whose runs are cancelled, and that several workers look after."""

from __future__ import annotations

import time

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from pipelines.data.ingest import IngestResult
from tests.faults.table import Measured
from tests.pipelines.conftest import ended
from tests.processes import available_cpus, total_cpus, wait_for, wait_until
from vae.config import RunConfig, override

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.ci]
CPUS_FREE_SECONDS = 15.0


def test_cancelled_run_gives_its_cpus_back(
    prefect: SyncPrefectClient, digits: IngestResult, tiny: RunConfig, measured: Measured
) -> None:
    """Cancelling a flow run in Prefect stops its Ray job, and its CPUs are free within 15 s."""
    deployment = prefect.read_deployment_by_name("train/nightly")
    endless = override(tiny, {"training.epochs": 100000, "training.patience_epochs": None})
    request = {"dataset": "digits", "name": "digits", "config": endless.model_dump(mode="json")}
    run = prefect.create_flow_run_from_deployment(deployment.id, parameters={"request": request})
    wait_until(lambda: available_cpus() < total_cpus(), 240, "the run takes a CPU")
    cancelled = time.monotonic()
    prefect.set_flow_run_state(run.id, Cancelling())
    wait_until(lambda: available_cpus() == total_cpus(), CPUS_FREE_SECONDS, "the CPUs are free")
    free_seconds = time.monotonic() - cancelled
    found = wait_for(lambda: ended(prefect, run), 60, "the run is cancelled")
    assert found.state is not None
    assert found.state.type == StateType.CANCELLED
    measured("a flow run cancelled", noticed_seconds=free_seconds, kept="its Ray job is stopped and its CPUs are free")
