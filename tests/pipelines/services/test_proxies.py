"""With a proxy in the environment, nothing that is meant for this machine or the cluster goes to it; the rest does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.services import Services, reaching
from pipelines.services.doctor import examine
from pipelines.services.lease import exported, variables
from pipelines.services.proxies import LOCAL, proxy_for, spared
from tests.processes import betaline
from tests.recording import recording, through
from tests.servers import ROOT
from vae.errors import ServiceError

pytestmark = pytest.mark.servers("services")

local = ",".join(LOCAL)


@pytest.mark.parametrize(
    ("environment", "no_proxy"),
    [
        ({}, None),
        ({"NO_PROXY": "corp.example"}, None),
        ({"HTTP_PROXY": "http://proxy:1"}, local),
        ({"https_proxy": "http://proxy:1", "no_proxy": "corp.example, .lan"}, f"corp.example,.lan,{local}"),
        ({"ALL_PROXY": "socks5://proxy:1", "no_proxy": "a", "NO_PROXY": "b,localhost"}, ",".join(["a", "b", *LOCAL])),
        ({"all_proxy": "http://proxy:1", "NO_PROXY": "*"}, "*"),
    ],
)
def test_local_names_are_added_to_those_of_the_user(environment: dict[str, str], no_proxy: str | None) -> None:
    """The user's own entries stay, in both cases of the variable; without a proxy nothing is set."""
    assert spared(environment=environment) == ({"NO_PROXY": no_proxy, "no_proxy": no_proxy} if no_proxy else {})


def test_cluster_is_reached_directly_and_remote_servers_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow and Prefect elsewhere are asked through the proxy, unless NO_PROXY names them; the dashboard never is."""
    remote = {
        "prefect": "http://prefect.example/api",
        "mlflow": "http://mlflow.example",
        "ray": "http://ray.invalid:8265",
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", remote["mlflow"])
    monkeypatch.setenv("RAY_ADDRESS", remote["ray"])
    with recording(body='"3.8"') as proxy, variables(through(proxy)):
        with pytest.raises(ServiceError, match=r"RAY_ADDRESS is \S+, and the host ray.invalid is unknown; start it"):
            reaching.check(remote)
        asked = [request.partition("?")[0] for request in proxy.requests]
        assert sorted(asked) == [
            "GET http://mlflow.example/api/2.0/mlflow/experiments/search",
            "GET http://prefect.example/api/admin/version",
        ]
        [check] = [check for check in examine("s3://bucket/home") if check.name == "proxy"]
        assert f"MLFLOW_TRACKING_URI through {proxy.address}" in check.found
        assert "RAY_ADDRESS through" not in check.found
        assert "word" not in check.found, "the proxy's password"
        monkeypatch.setenv("NO_PROXY", "prefect.example")
        assert proxy_for(remote["prefect"]) is None
        assert proxy_for(remote["mlflow"]) == proxy.address


def test_proxy_that_refuses_connections_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence blames the proxy, not the server behind it, and names the variable that goes past it."""
    with recording() as gone:
        pass
    with variables(through(gone)):
        sentence = reaching.trouble("mlflow", "http://mlflow.example")
    assert sentence is not None
    assert f"and the proxy {gone.address} refuses connections; start it, add mlflow.example to NO_PROXY" in sentence


CLIENTS = """
import sys
from pipelines.services import connect
from pipelines.services.lease import servers_of_environment
with connect(sys.argv[1]):
    from prefect import get_client
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker
    from mlflow import MlflowClient
    from pipelines.cluster.demands import ask_cluster
    from pipelines.cluster.resources import current_cluster
    with get_client(sync_client=True) as client:
        client.read_flows()
    emit_event("betaline.test", {"prefect.resource.id": "betaline.test"})
    EventsWorker.drain_all()
    assert MlflowClient().search_experiments()
    assert ask_cluster(current_cluster()).num_nodes == 1
"""


def test_clients_of_running_services_send_the_proxy_nothing(services: Services) -> None:
    """HTTP, websockets and Ray's API of a command that uses the session's services all stay on loopback."""
    with recording() as proxy:
        kept = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
        client = subprocess.run(
            [sys.executable, "-c", CLIENTS, services.home],
            env={**kept, **through(proxy)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert client.returncode == 0, client.stderr
    assert proxy.requests == []
    assert proxy.logins == []


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.timeout(600)
def test_services_and_jobs_started_behind_a_proxy_send_it_nothing(own_home: Path) -> None:
    """Fresh servers, an ingest and a training on two workers, with every variable set and no NO_PROXY."""
    with recording() as proxy:
        kept = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
        environment = {**kept, **through(proxy)}
        for command in (
            ["up"],
            ["ingest", "sklearn:digits", "digits"],
            ["train", "digits", "--workers", "2", "--set", "training.epochs=1", "--register", "champion"],
        ):
            done = betaline(*command, home=own_home, environment=environment, limit_seconds=280)
            assert done.returncode == 0, done.stderr
    assert proxy.requests == []
    assert proxy.logins == []


def test_printed_environment_goes_past_the_proxy(services: Services) -> None:
    """`betaline up --env` adds NO_PROXY for the programs of that shell."""
    with recording() as proxy, variables(through(proxy)), exported(services):
        assert set(LOCAL) <= set(services.environment()["NO_PROXY"].split(","))
        assert os.environ["no_proxy"] == services.environment()["no_proxy"]
