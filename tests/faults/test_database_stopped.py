"""Prefect and MLflow over PostgreSQL, as a team has them: the database crashes, and two Prefect servers share it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import ConcurrencyLimitConfig, FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from pydantic import BaseModel

from pipelines.cluster.resources import current_cluster
from pipelines.cluster.runs import RESULT, SPEC, RunFolder
from pipelines.data.ingest import IngestResult
from pipelines.data.sources import IngestConfig
from pipelines.flows.ray_job import identity_of
from pipelines.models import tracking
from pipelines.operating import deployments
from pipelines.services import Services, commands, lease
from pipelines.services.process import LOOPBACK
from pipelines.stages.train import TrainRequest
from tests.cluster import servers
from tests.cluster.postgres import Postgres, running_postgres, why_no_postgres
from tests.faults.table import Measured
from tests.pipelines.conftest import ended
from tests.processes import wait_for, wait_until
from tests.servers import worker
from vae.config import RunConfig, override

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.timeout(900)]
OUTAGE_SECONDS = 20.0
SLOT_SECONDS, NUM_SLOTS = 10, 3


@pytest.fixture(scope="module")
def database(services: Services, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL with a Prefect and an MLflow server over it, to which the environment leads; Ray is the session's."""
    if reason := why_no_postgres():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("team")
    shutil.copytree(home / "secrets", folder / "secrets")  # jobs have their login from the head
    ports = commands.choose_ports(folder)
    with running_postgres() as postgres:
        postgres.create("mlflow")
        mlflow = commands.mlflow(folder, ports, database=postgres.url("mlflow", "postgresql+psycopg2"))
        with (
            servers.prefect(postgres, folder, ports) as prefect,
            servers.running(mlflow, folder),
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in prefect.environment.items():
                patch.setenv(name, value)
            patch.setenv("MLFLOW_TRACKING_URI", f"http://{LOOPBACK}:{ports.mlflow}")
            lease._refresh_prefect()
            yield postgres
        lease._refresh_prefect()


@pytest.fixture(scope="module")
def client(database: Postgres) -> Iterator[SyncPrefectClient]:
    """A client of the Prefect server, with a worker."""
    with get_client(sync_client=True) as client:
        deployments.ensure_pool()
        with worker():
            yield client


def deployed(flow: str, request: BaseModel, name: str, **options: Any) -> UUID:
    """A deployment on the pool."""
    parameters = {"request": request.model_dump(mode="json")}
    return deployments._deployment(flow, name, deployments.POOL, parameters=parameters, **options).apply()


def crash_while_running(
    database: Postgres, client: SyncPrefectClient, deployment: UUID, kind: str
) -> tuple[Any, float]:
    """A run of the deployment whose database crashes when its job was submitted, and is away for a while: the run as it has
    ended, and how long after the return of the database that was.
    """
    run = client.create_flow_run_from_deployment(deployment)
    folder = RunFolder(os.environ["BETALINE_HOME"], identity_of(kind, str(run.id), None))
    wait_until(lambda: folder.read(SPEC), 300, "the job is submitted")
    database.stop("immediate")
    time.sleep(OUTAGE_SECONDS)
    if kind == "ingest":  # it needs no database to end, so that it ends without one
        wait_until(lambda: folder.read(RESULT), 300, "the job has ended")
        time.sleep(OUTAGE_SECONDS)
    database.start()
    back = time.monotonic()
    found = wait_for(lambda: ended(client, run), 300, "the run ends")
    return found, time.monotonic() - back


@pytest.mark.parametrize("kind", ["ingest", "train"])
def test_run_completes_though_the_database_has_crashed(
    database: Postgres, client: SyncPrefectClient, digits: IngestResult, tiny: RunConfig, measured: Measured, kind: str
) -> None:
    """An ingest that ends without a database, and a training that has to wait for one: the run completes, its curves are
    whole, and its place is free for the next.
    """
    asked = {
        "ingest": IngestConfig(source="sklearn:digits", name="digits"),
        "train": TrainRequest(dataset="digits", name="crashed", config=override(tiny, {"training.epochs": 40})),
    }
    deployment = deployed(kind, asked[kind], "takes-turns", concurrency_limit=ConcurrencyLimitConfig(limit=1))
    run, seconds = crash_while_running(database, client, deployment, kind)
    assert run.state.type == StateType.COMPLETED, run.state.message
    limit = client.read_global_concurrency_limit_by_name(f"deployment:{deployment}")
    assert (limit.limit, limit.active_slots) == (1, 0)
    kept = "the run completes, its concurrency slot is free"
    if kind == "train":
        result = RunFolder(os.environ["BETALINE_HOME"], identity_of(kind, str(run.id), None)).read(RESULT)
        assert result is not None
        for name in tracking.EPOCH_METRICS:
            curve = MlflowClient().get_metric_history(result["mlflow_run_id"], name)
            assert sorted(point.step for point in curve) == list(range(1, 41))
        kept += ", each curve has each epoch once"
    measured("PostgreSQL `stop -m immediate` under Prefect and MLflow", noticed_seconds=seconds, kept=f"{kind}: {kept}")


def test_two_prefect_servers_run_each_slot_once(
    database: Postgres, client: SyncPrefectClient, digits: IngestResult, measured: Measured, home: Path, tmp_path: Path
) -> None:
    """Two servers with their schedulers over one database, and a worker of each on one pool: no slot has two runs, and no
    run two executions.
    """
    shutil.copytree(home / "secrets", tmp_path / "secrets")
    ports = commands.choose_ports(tmp_path)
    second = commands.prefect(tmp_path, ports, database=database.url("prefect", "postgresql+asyncpg"))
    url = f"http://{LOOPBACK}:{ports.prefect}/api"
    with servers.running(second, tmp_path), worker(PREFECT_API_URL=url):
        by_itself = IntervalSchedule(interval=timedelta(seconds=SLOT_SECONDS))
        request = IngestConfig(source="sklearn:digits", name="digits")
        deployment = deployed("ingest", request, "by-itself", schedules=[by_itself])

        def runs() -> list[FlowRun]:
            return client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])))

        try:
            taken = [StateType.PENDING, StateType.RUNNING, StateType.COMPLETED]  # not only the last: they would pile up
            wait_until(lambda: sum(run.state_type in taken for run in runs()) >= NUM_SLOTS, 300, "some slots have come")
        finally:  # or the first worker would run slots until it ends
            (schedule,) = client.read_deployment(deployment).schedules
            client.update_deployment_schedule(deployment, schedule.id, active=False)
        wait_until(lambda: all(run.state and run.state.is_final() for run in runs()), 400, "their runs have ended")
        found = runs()
    slots = [run.expected_start_time for run in found]
    assert len(set(slots)) == len(slots) >= NUM_SLOTS
    for run in found:
        assert run.state is not None
        assert run.state.type == StateType.COMPLETED, run.state.message
        states = [state.type for state in client.read_flow_run_states(run.id)]
        assert states.count(StateType.RUNNING) == 1
        assert attempts(identity_of("ingest", str(run.id), None)) == 1
    measured("two schedulers", redone="nothing", kept=f"{len(slots)} slots, as many runs, as many jobs")


def attempts(identity: str) -> int:
    """How many jobs a run has had on the cluster."""
    jobs = current_cluster().get("/api/jobs/")
    return sum(job["submission_id"].rpartition("-")[0] == identity for job in jobs if job["submission_id"])
