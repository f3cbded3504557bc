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
from pipelines.stages.pipeline import PipelineRequest
from tests.cluster import nodes, servers
from tests.cluster.nodes import Head
from tests.cluster.postgres import Postgres, running_postgres, why_no_postgres
from tests.cluster.servers import Bucket, Server
from tests.servers import ROOT, worker

T = TypeVar("T")
# Variables that lead a client elsewhere, or hold a key that it should not have.
_CLIENT_PREFIXES = ("PREFECT_", "MLFLOW_", "RAY_", "AWS_", "BETALINE_")


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A running cluster."""

    folder: Path
    """Folder of logs and secrets; not a home."""
    postgres: Postgres
    bucket: Bucket
    prefect: Server
    mlflow: Server
    head: Head
    environment: dict[str, str]
    """Environment of a client: addresses and passwords of all servers, and a home in the bucket."""
    seconds: dict[str, float]
    """Seconds until each part was ready, in the order of their starts."""

    def run(self, *command: str) -> str:
        """Runs Python as a client, such as `-m pipelines.cli doctor`; returns what it prints."""
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_main_job(self, request: PipelineRequest, name: str) -> dict[str, float]:
        """Runs the main job on the Prefect worker; returns the seconds of each of its flows."""
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
        """Returns the ids of the nodes on which a job's actors held CPUs; the actors are dead by now."""
        [job] = [found for found in self.head.cluster.get("/api/jobs/") if found["submission_id"] == submission_id]
        listed = self.head.cluster.get("/api/v0/actors", detail="1", limit="10000")["data"]["result"]["result"]
        of_job = [found for found in listed if found["job_id"] == job["job_id"]]
        # Within a placement group a CPU is called CPU_group_….
        holding = [
            found for found in of_job if any(name.startswith("CPU") for name in found["required_resources"] or {})
        ]
        return {found["node_id"] for found in holding if found["node_id"]}


def why_no_topology() -> str | None:
    """Returns why the cluster cannot be started here; None if it can."""
    return why_no_postgres()


@contextmanager
def topology(folder: Path, *, num_nodes: int = 2) -> Iterator[Topology]:
    """Runs the cluster while the block lasts, with every deployment of `prefect.yaml` and a worker on their pool.

    Only this user can read the folder's logs and secrets. The nodes, beside the head, have one CPU each.
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
        kept = {"artifacts": f"{storage}/artifacts", "environment": bucket.environment}
        mlflow = up("MLflow", servers.mlflow(postgres, folder, ports, **kept))
        known = {**bucket.environment, **mlflow.environment}
        head = up("Ray head", nodes.head(folder, ports, num_cpus=0, environment=known))
        for number in range(num_nodes):
            up(f"Ray node {number + 1}", nodes.joined(head, folder, num_cpus=1, name=f"node-{number + 1}"))
        found = Topology(
            folder=folder,
            postgres=postgres,
            bucket=bucket,
            prefect=prefect,
            mlflow=mlflow,
            head=head,
            environment=bare_environment()
            | {**known, **prefect.environment, **head.environment, "BETALINE_HOME": f"{storage}/home"},
            seconds=seconds,
        )
        up("betaline deploy", deployed(found))
        stack.enter_context(worker(**found.environment))
        yield found


@contextmanager
def deployed(cluster: Topology) -> Iterator[None]:
    """Registers the deployments of `prefect.yaml`."""
    cluster.run("-m", "pipelines.cli", "deploy")
    yield


def bare_environment() -> dict[str, str]:
    """Returns this process's environment without addresses and keys of servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_CLIENT_PREFIXES)}
