"""Parts of Prefect are killed: its server, or a worker with the process of a flow run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Pending

from pipelines.cluster.launch import stop_job
from pipelines.cluster.runs import SPEC, RunFolder
from pipelines.data.ingest import IngestResult
from pipelines.flows.ray_job import identity_of
from pipelines.operating import deployments, heartbeats
from pipelines.services import Services, commands, lease
from pipelines.stages.train import TrainRequest
from tests.pipelines.conftest import ended
from tests.processes import wait_for, wait_until
from tests.servers import Server, kill, worker
from vae.config import RunConfig, override

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.timeout(600)]
HEARTBEAT_SECONDS = 30
"""The least that Prefect takes."""


def scheduled(client: SyncPrefectClient, request: TrainRequest) -> UUID:
    """The deployment of a schedule, of which one run at a time may go on; its first slot is far away."""
    made = deployments.schedule("train", request, every_seconds=3600)
    return client.read_deployment_by_name(f"{made.flow}/{made.name}").id


def active_slots(client: SyncPrefectClient, deployment: UUID) -> int:
    """How many runs of a deployment count as going on."""
    limit = client.read_global_concurrency_limit_by_name(f"deployment:{deployment}")
    assert limit.limit == 1
    return limit.active_slots


def test_concurrency_slots_survive_the_server(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL of the Prefect server: when it is back, the lease of a run's slot can be renewed, by which the run lives, and
    ending the run gives the slot back.
    """
    commands.make_secrets(tmp_path)
    ports = commands.choose_ports(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{ports.prefect}/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", commands.read_secret(tmp_path, "prefect_auth"))
    lease._refresh_prefect()
    with ExitStack() as until_the_end:
        server = Server(commands.prefect(tmp_path, ports), tmp_path, until_the_end)
        client = until_the_end.enter_context(get_client(sync_client=True))
        deployment = scheduled(client, TrainRequest(dataset="digits", name="leased"))
        run = client.create_flow_run_from_deployment(deployment)
        state = client.set_flow_run_state(run.id, Pending()).state
        assert state is not None
        lease_id = state.state_details.deployment_concurrency_lease_id
        assert lease_id is not None
        assert active_slots(client, deployment) == 1
        server.kill()
        server.start()
        client.renew_concurrency_lease(lease_id, lease_duration=300)
        assert active_slots(client, deployment) == 1
        client.set_flow_run_state(run.id, Cancelled())
        assert active_slots(client, deployment) == 0


@pytest.fixture
def client(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """A client whose runs tell often that they live."""
    with monkeypatch.context() as patch:
        patch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_SECONDS))
        lease._refresh_prefect()
        with get_client(sync_client=True) as client:
            yield client
    lease._refresh_prefect()
    with get_client(sync_client=True) as client:
        heartbeats.watch(client, list(deployments.FLOWS))  # or other tests' runs would be expected to tell as often


def test_run_whose_process_died_is_crashed_and_gives_its_slot_back(
    client: SyncPrefectClient, digits: IngestResult, tiny: RunConfig, home: Path
) -> None:
    """SIGKILL of a worker and of the process of its run: Prefect notices that the heartbeats have ended."""
    endless = override(tiny, {"training.epochs": 100000, "training.patience_epochs": None})
    deployment = scheduled(client, TrainRequest(dataset="digits", name="silent", config=endless))
    run = client.create_flow_run_from_deployment(deployment)
    identity = identity_of("train", str(run.id), None)
    with ExitStack() as afterwards:
        with worker() as process:
            afterwards.callback(stop_job, identity)
            wait_until(lambda: RunFolder(str(home), identity).read(SPEC), 300, "its job is submitted")
            killed = time.monotonic()
            kill(*process.children(recursive=True), process)
        found = wait_for(lambda: ended(client, run), heartbeats.MISSED * HEARTBEAT_SECONDS + 120, "the run is crashed")
        print(f"crashed {time.monotonic() - killed:.0f} s after its process")
        assert found.state is not None
        assert (found.state.type, found.state.message) == (
            StateType.CRASHED,
            "no heartbeat for 90 s: its process has died; a retry attaches to its job",
        )
        assert active_slots(client, deployment) == 0
        assert stop_job(identity), "what it watched goes on"
