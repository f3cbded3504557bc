"""More flow runs than the machine has room for are queued, and all end."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import StateType

from pipelines.services import Services
from tests.load.table import Carried
from tests.pipelines.conftest import ended
from tests.processes import wait_until
from tests.servers import worker

pytestmark = pytest.mark.servers("load")

NUM_RUNS, AT_ONCE = 20, 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_20_flow_runs_at_once_are_queued_and_all_end(services: Services, carried: Carried) -> None:
    """Twenty ingests are submitted at once to a pool that runs two: never more run, each leaves a dataset of its own."""
    from pipelines.operating import deployments

    deployments.deploy()
    most = 0
    with get_client(sync_client=True) as client, worker():
        client.update_work_pool(deployments.POOL, WorkPoolUpdate(concurrency_limit=AT_ONCE))
        deployment = client.read_deployment_by_name("ingest/default")
        requests = [{"source": "sklearn:digits", "name": "load", "seed": seed} for seed in range(NUM_RUNS)]
        runs = [
            client.create_flow_run_from_deployment(deployment.id, parameters={"request": request})
            for request in requests
        ]

        def all_have_ended() -> bool:
            nonlocal most
            found = [client.read_flow_run(run.id) for run in runs]
            most = max(most, sum(run.state_type in (StateType.PENDING, StateType.RUNNING) for run in found))
            return all(run.state is not None and run.state.is_final() for run in found)

        seconds = wait_until(all_have_ended, 1500, "all flow runs have ended")
        states: list[Any] = [ended(client, run) for run in runs]
        client.update_work_pool(deployments.POOL, WorkPoolUpdate(concurrency_limit=None))
    assert [run.state.type for run in states] == [StateType.COMPLETED] * NUM_RUNS
    assert most == AT_ONCE
    assert len({run.state.result(raise_on_failure=True).dataset_id for run in states}) == NUM_RUNS
    figure = f"all completed, {most} at once at most, {seconds:.0f} s"
    carried(f"{NUM_RUNS} flow runs submitted at once, {AT_ONCE} places", figure)
