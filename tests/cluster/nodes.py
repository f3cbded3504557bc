"""Ray clusters of several nodes on one machine's loopback."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from pipelines.cluster.resources import Cluster, total_resources
from pipelines.services import Services, commands
from pipelines.services.commands import Ports
from pipelines.services.process import LOOPBACK, Process, end, spawn
from tests.cluster.servers import running
from tests.processes import wait_until

# `ray start` would give a further node the machine's outward address, where no head that keeps to loopback is found.
NODE = """
import signal, sys
from ray._private.node import Node
from ray._private.parameter import RayParams

Node(
    RayParams(
        gcs_address=sys.argv[1], node_ip_address="127.0.0.1", num_cpus=int(sys.argv[2]), object_store_memory=100 * 2**20,
        min_worker_port=0, max_worker_port=0, node_manager_port=0, include_log_monitor=False,
    ),
    head=False,
)
signal.pause()
"""

# As systemd's Restart=always does, or a pod's restartPolicy: a node that was given up comes back, and one that did not
# register within the 30 s that Ray grants tries again.
SUPERVISED = ("bash", "-c", 'while :; do "$@"; sleep 1; done', "supervisor")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A Ray head that its clients reach by address and token alone, like one on another machine."""

    gcs_address: str
    environment: dict[str, str]
    """Variables of a client."""
    node_environment: dict[str, str]
    """Environment of its own processes, and of those of further nodes."""

    @property
    def cluster(self) -> Cluster:
        """Address of its dashboard, with the token."""
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text().strip()
        return Cluster(address=self.environment["RAY_ADDRESS"], headers={"Authorization": f"Bearer {token}"})

    def cpus(self) -> float:
        """Returns the number of CPUs of all living nodes."""
        return total_resources(self.cluster)[0]


def head_of(services: Services) -> Head:
    """Returns the head of embedded services."""
    process = psutil.Process(next(process for process in services.processes if process.name == "ray").pid)
    words = process.cmdline()
    return Head(
        gcs_address=f"{LOOPBACK}:{words[words.index('--port') + 1]}",
        environment=services.environment(),
        node_environment={**os.environ, **process.environ()},
    )


@contextmanager
def head(folder: Path, ports: Ports, *, num_cpus: int, environment: Mapping[str, str] | None = None) -> Iterator[Head]:
    """Runs a head node while the block lasts.

    Args:
        folder: Folder of the log and of the secrets, see `commands.make_secrets`. It must not be a home in use.
        ports: Ports to listen on.
        num_cpus: CPUs of the head; further nodes bring their own.
        environment: Variables of its jobs, such as the address of their storage or of another MLflow server.
    """
    launch = commands.ray(folder, ports, login=commands.mlflow_login(folder, embedded=True), num_cpus=num_cpus)
    # A cluster has its own interpreter first on its path.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    launch = replace(
        launch,
        command=[*SUPERVISED, *launch.command],
        environment={**launch.environment, "PATH": path, **(environment or {})},
    )
    try:
        with running(launch, folder):
            yield Head(
                gcs_address=f"{LOOPBACK}:{ports.ray_gcs}",
                environment={
                    "RAY_ADDRESS": f"http://{LOOPBACK}:{ports.ray_dashboard}",
                    "RAY_AUTH_MODE": "token",
                    "RAY_AUTH_TOKEN_PATH": str(folder / "secrets" / "ray_token"),
                },
                node_environment=launch.environment,
            )
    finally:
        shutil.rmtree(commands.ray_folder(folder), ignore_errors=True)


@contextmanager
def joined(head: Head, folder: Path, *, num_cpus: int, name: str = "node") -> Iterator[Process]:
    """Runs a further node while the block lasts, which ends once the head has noticed. Its log is FOLDER/NAME.log."""
    command = [sys.executable, "-c", NODE, head.gcs_address, str(num_cpus)]
    before = head.cpus()
    node = spawn(name, command, head.node_environment, folder / f"{name}.log", folder)
    try:
        wait_until(lambda: head.cpus() == before + num_cpus, what=f"{name} joins the cluster; see {node.log}")
        yield node
    finally:
        end([node])
    wait_until(lambda: head.cpus() == before, what=f"the cluster has seen that {name} is gone")
