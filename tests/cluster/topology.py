"""A team's cluster on one machine, without containers: every server that betaline knows, over shared storage.

PostgreSQL under Prefect and MLflow, each behind a password; S3 for datasets, runs and artifacts; a Ray head without CPUs
of its own and nodes of one CPU each, so that two workers are on two nodes; a Prefect worker for the deployments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipelines.services import commands
from pipelines.services.process import end, spawn
from pipelines.stages.pipeline import PipelineRequest
from tests.cluster import nodes, servers
from tests.cluster.nodes import Head
from tests.cluster.postgres import Postgres, running_postgres, why_no_postgres
from tests.cluster.servers import Bucket, Server

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
POOL = "betaline"
# What would lead a client elsewhere, or let it in where it should have no key.
_CLIENT_PREFIXES = ("PREFECT_", "MLFLOW_", "RAY_", "AWS_", "BETALINE_")


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A running cluster."""

    folder: Path
    """Of logs and secrets; no home."""
    postgres: Postgres
    bucket: Bucket
    prefect: Server
    mlflow: Server
    head: Head
    environment: dict[str, str]
    """What a client has: the way to every server, with its passwords, and a home in the bucket."""
    seconds: dict[str, float]
    """How long each part took to be ready, in the order they came."""

    def run(self, *command: str) -> str:
        """What a command of Python's, such as `-m pipelines.cli doctor`, prints as a client."""
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_main_job(self, request: PipelineRequest, name: str) -> dict[str, float]:
        """Submit the main job to the Prefect worker and wait for its end; returns the seconds of each of its flows."""
        parameters = json.dumps({"request": request.model_dump(mode="json"), "run": name})
        said = self.run(
            *("-m", "prefect", "deployment", "run", "pipeline/default", "--params", parameters),
            *("--flow-run-name", name, "--watch", "--watch-interval", "1"),
        )
        assert "Completed" in said, said
        return dict(
            self.postgres.query(
                "prefect",
                "SELECT flow.name, extract(epoch FROM run.end_time - run.start_time)::float "
                "FROM flow_run run JOIN flow ON flow.id = run.flow_id "
                "WHERE run.start_time IS NOT NULL ORDER BY run.start_time",  # the others are scheduled for some night
            )
        )

    def nodes_of(self, submission_id: str) -> set[str]:
        """The ids of the nodes on which the actors of a job were that held CPUs; they are dead by now."""
        [job] = [found for found in self.head.cluster.get("/api/jobs/") if found["submission_id"] == submission_id]
        listed = self.head.cluster.get("/api/v0/actors", detail="1", limit="10000")["data"]["result"]["result"]
        of_job = [found for found in listed if found["job_id"] == job["job_id"]]
        # Within a placement group a CPU is called CPU_group_….
        holding = [
            found for found in of_job if any(name.startswith("CPU") for name in found["required_resources"] or {})
        ]
        return {found["node_id"] for found in holding if found["node_id"]}


def why_no_topology() -> str | None:
    """Why the cluster cannot be brought up here; None where it can."""
    return why_no_postgres()


@contextmanager
def topology(folder: Path, *, num_nodes: int = 2) -> Iterator[Topology]:
    """The cluster while the block lasts, with every deployment of `prefect.yaml` and a worker on their pool.

    Args:
        folder: Of logs and secrets, which only this user can read.
        num_nodes: Ray nodes beside the head, of one CPU each.
    """
    commands.make_secrets(folder)
    ports = commands.choose_ports(folder)
    seconds: dict[str, float] = {}
    with ExitStack() as stack:

        def up(name: str, server: AbstractContextManager[T]) -> T:
            begun = time.monotonic()
            running = stack.enter_context(server)
            seconds[name] = time.monotonic() - begun
            return running

        postgres = up("PostgreSQL", running_postgres())
        bucket = up("S3", servers.s3(folder))
        storage = f"s3://{bucket.name}"
        prefect = up("Prefect", servers.prefect(postgres, folder, ports))
        mlflow = up(
            "MLflow",
            servers.mlflow(postgres, folder, ports, artifacts=f"{storage}/artifacts", environment=bucket.environment),
        )
        head = up(
            "Ray head", nodes.head(folder, ports, num_cpus=0, environment={**bucket.environment, **mlflow.environment})
        )
        for number in range(num_nodes):
            up(f"Ray node {number + 1}", nodes.joined(head, folder, num_cpus=1, name=f"node-{number + 1}"))
        found = Topology(
            folder=folder,
            postgres=postgres,
            bucket=bucket,
            prefect=prefect,
            mlflow=mlflow,
            head=head,
            environment={
                **bare_environment(),
                **bucket.environment,
                **prefect.environment,
                **mlflow.environment,
                **head.environment,
                "BETALINE_HOME": f"{storage}/home",
            },
            seconds=seconds,
        )
        begun = time.monotonic()
        found.run("-m", "pipelines.cli", "deploy")
        seconds["betaline deploy"] = time.monotonic() - begun
        stack.enter_context(_prefect_worker(found))
        yield found


@contextmanager
def _prefect_worker(topology: Topology) -> Iterator[None]:
    """A worker on the pool of the deployments: it starts a process for each flow run."""
    worker = spawn(
        "worker",
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL],
        {**topology.environment, "PREFECT_WORKER_QUERY_SECONDS": "2"},
        topology.folder / "worker.log",
        topology.folder,
    )
    try:
        yield
    finally:
        end([worker])


def bare_environment() -> dict[str, str]:
    """This process's environment without what leads to any server, or into one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_CLIENT_PREFIXES)}
