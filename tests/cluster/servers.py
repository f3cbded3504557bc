"""Servers as a team runs them: Prefect and MLflow over PostgreSQL, each behind a password, and an object store."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3

from pipelines.services import commands
from pipelines.services.commands import Launch, Ports
from pipelines.services.process import LOOPBACK, NUM_PORTS, Process, end, find, free_port, last_lines, spawn
from tests.cluster.postgres import Postgres
from tests.processes import wait_until

LIMIT_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server, with the environment of its clients."""

    process: Process
    url: str
    environment: dict[str, str]


@contextmanager
def running(launch: Launch, folder: Path) -> Iterator[Process]:
    """Runs a service, once it is ready, while the block lasts; its log is FOLDER/NAME.log."""
    process = spawn(launch.name, launch.command, launch.environment, folder / f"{launch.name}.log", folder)

    def is_ready() -> bool:
        assert find(process) is not None, f"{launch.name} ended:\n{last_lines(process.log)}"
        return launch.is_ready()

    try:
        wait_until(is_ready, LIMIT_SECONDS, f"{launch.name} is ready; see {process.log}")
        yield process
    finally:
        end([process])


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket of an S3 server."""

    name: str
    client: Any
    environment: dict[str, str]
    """Variables with the server's address and keys."""

    def keys(self, prefix: str = "") -> list[str]:
        """Returns the names of the objects with a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def json(self, key: str) -> Any:
        """Returns the content of an object of JSON."""
        return json.load(self.client.get_object(Bucket=self.name, Key=key)["Body"])


@contextmanager
def s3(folder: Path, bucket: str = "betaline") -> Iterator[Bucket]:
    """Runs an S3 server in memory, with one empty bucket, while the block lasts."""
    port = free_port(secrets.randbelow(NUM_PORTS), set())
    launch = Launch(
        name="s3",
        command=[sys.executable, "-m", "moto.server", "--host", LOOPBACK, "--port", str(port)],
        environment=dict(os.environ),
        is_ready=lambda: _listens(port),
    )
    environment = {
        "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{port}",
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with running(launch, folder):
        endpoint, key, secret, region = environment.values()
        session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=region)
        client = session.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket=bucket)
        yield Bucket(name=bucket, client=client, environment=environment)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def prefect(postgres: Postgres, folder: Path, ports: Ports) -> Iterator[Server]:
    """Runs a Prefect server over the new database `prefect`, behind an authentication string and CSRF tokens.

    Args:
        postgres: Server of the database.
        folder: Folder of the log and of the secrets, see `commands.make_secrets`.
        ports: Ports to listen on.
    """
    postgres.create("prefect")
    launch = commands.prefect(folder, ports, database=postgres.url("prefect", "postgresql+asyncpg"))
    url = f"http://{LOOPBACK}:{ports.prefect}"
    environment = {
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_API_AUTH_STRING": commands.read_secret(folder, "prefect_auth"),
        "PREFECT_HOME": str(folder / "prefect"),
        "DO_NOT_TRACK": "1",
    }
    with running(launch, folder) as process:
        yield Server(process=process, url=url, environment=environment)


@contextmanager
def mlflow(
    postgres: Postgres,
    folder: Path,
    ports: Ports,
    *,
    artifacts: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Runs an MLflow server over the new database `mlflow`, with basic authentication over the new database `users`.

    Args:
        postgres: Server of the databases.
        folder: Folder of the settings and the log.
        ports: Ports to listen on.
        artifacts: URI of the artifacts; None means FOLDER/artifacts.
        environment: Variables that the server needs to reach them.
    """
    for name in ("mlflow", "users"):
        postgres.create(name)
    settings = folder / "users.ini"
    settings.touch(mode=0o600)
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = {postgres.url('users', 'postgresql+psycopg2')}\n"
        # Else each request hashes its password anew, and a model is a hundred requests.
        "auth_cache_ttl_seconds = 60\n"
    )
    launch = commands.mlflow(folder, ports, database=postgres.url("mlflow", "postgresql+psycopg2"), artifacts=artifacts)
    launch = replace(
        launch,
        environment={**launch.environment, **(environment or {}), "MLFLOW_AUTH_CONFIG_PATH": str(settings)},
    )
    url, login = f"http://{LOOPBACK}:{ports.mlflow}", commands.mlflow_login(folder, embedded=True)
    with running(launch, folder) as process:
        yield Server(process=process, url=url, environment={"MLFLOW_TRACKING_URI": url, **login})
