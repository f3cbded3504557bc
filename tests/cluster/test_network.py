"""Two machines with addresses of their own train one model, and the cable between them is pulled out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.services import commands
from pipelines.services.process import LOOPBACK, end, spawn
from tests.cluster.clients import Client, Fault
from tests.cluster.namespaces import Machine, network, why_no_namespaces
from tests.cluster.nodes import SUPERVISED, Head
from tests.cluster.servers import running
from tests.faults.table import Measured
from tests.processes import wait_until
from tests.trainings import weights_of
from vae.config import RunConfig

pytestmark = [pytest.mark.servers("cluster"), pytest.mark.slow, pytest.mark.timeout(1200)]
ROW = "a link between 2 nodes cut, and joined again"
RAY = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1", "--disable-usage-stats")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Machine]]:
    """A head on one machine and a node on another, of one CPU each and started by `ray start`; and the second machine."""
    if reason := why_no_namespaces():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("network")
    commands.make_secrets(folder)
    ports = commands.choose_ports(folder)
    with ExitStack() as stack:
        first, second = stack.enter_context(network(2))
        ray_folder = commands.ray_folder(folder)
        stack.callback(shutil.rmtree, ray_folder, ignore_errors=True)
        head = stack.enter_context(_head_on(first, folder, ports, ray_folder))
        # Logs are each machine's own: of the same files two nodes would tell every line twice.
        join = second.command(
            *(*SUPERVISED, *RAY, "--node-ip-address", second.address, "--address", head.gcs_address),
            own_folder=ray_folder,
        )
        stack.callback(end, [spawn("node", join, head.node_environment, folder / "node.log", folder)])
        stack.enter_context(running(_mlflow_on(first, folder, ports), folder))
        wait_until(lambda: head.cpus() == 2, what=f"the second machine joins; see {folder / 'node.log'}")
        client = Client(head, folder / "home", f"http://{LOOPBACK}:{ports.mlflow}")
        client.ingest_digits()
        yield client, second


@contextmanager
def _head_on(machine: Machine, folder: Path, ports: commands.Ports, ray_folder: Path) -> Iterator[Head]:
    """A head of one CPU on a machine, while the block lasts."""
    launch = commands.ray(folder, ports, login=commands.mlflow_login(folder, embedded=True))
    address = f"http://{machine.address}:{ports.ray_dashboard}"
    token = folder / "secrets" / "ray_token"
    environment = {
        **launch.environment,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        "RAY_API_SERVER_ADDRESS": address,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    launch = replace(
        launch,
        environment=environment,
        command=machine.command(
            *(*SUPERVISED, *RAY, "--head", "--node-ip-address", machine.address, "--port", str(ports.ray_gcs)),
            *("--dashboard-host", machine.address, "--dashboard-port", str(ports.ray_dashboard)),
            *("--temp-dir", str(ray_folder)),
        ),
        is_ready=lambda: commands.ray_is_ready(address, token.read_text().strip()),
    )
    with running(launch, folder):
        yield Head(
            gcs_address=f"{machine.address}:{ports.ray_gcs}",
            environment={"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)},
            node_environment=environment,
        )


def _mlflow_on(machine: Machine, folder: Path, ports: commands.Ports) -> commands.Launch:
    """An MLflow server on a machine's own loopback, where the jobs' drivers are."""
    launch = commands.mlflow(folder, ports)
    ask = f"import urllib.request; urllib.request.urlopen('http://{LOOPBACK}:{ports.mlflow}/health')"
    return replace(
        launch,
        command=machine.command(*launch.command),
        is_ready=lambda: (
            subprocess.run(machine.command(sys.executable, "-c", ask), capture_output=True, check=False).returncode == 0
        ),
    )


@pytest.fixture(scope="module")
def unbroken(pair: tuple[Client, Machine], two_workers: RunConfig) -> dict[str, Any]:
    """Result of the training without a fault."""
    return pair[0].train(two_workers, "unbroken")


def test_training_goes_on_after_a_cable_was_out_for_long(
    pair: tuple[Client, Machine], unbroken: dict[str, Any], two_workers: RunConfig, measured: Measured
) -> None:
    """The head gives the node up, the node comes back as a new one, and the weights are those of an unbroken run."""
    client, machine = pair
    fault = Fault(machine.unplug, at_step=900, word="waiting for 2 CPUs, have 1", make_up=machine.plug)
    broken = client.train(two_workers, "cut", fault)
    assert fault.noticed_seconds is not None
    assert broken["resumed_from_step"] > 0
    assert weights_of(broken) == weights_of(unbroken)
    measured(ROW, noticed_seconds=fault.noticed_seconds, redone=fault.redone(broken), kept="weights bit-equal")


def test_training_does_not_notice_a_cable_that_was_out_for_a_moment(
    pair: tuple[Client, Machine], unbroken: dict[str, Any], two_workers: RunConfig, measured: Measured
) -> None:
    """After 5 s TCP sends again what was lost: no worker is restarted, and no step is done twice."""
    client, machine = pair
    plug = threading.Timer(5.0, machine.plug)

    def strike() -> None:
        machine.unplug()
        plug.start()

    result = client.train(two_workers, "blinked", Fault(strike, at_step=900, word="waiting for"))
    plug.join()
    assert result["resumed_from_step"] == 0
    assert weights_of(result) == weights_of(unbroken)
    measured(ROW, redone="no step, 5 s waited", kept="weights bit-equal")
