"""Servers as a team runs them: Prefect and MLflow over PostgreSQL, each behind a password."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from pipelines.services import commands
from pipelines.services.commands import Launch, Ports
from pipelines.services.process import LOOPBACK, Process, end, find, last_lines, spawn
from tests.cluster.postgres import Postgres

LIMIT_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server, and what leads its clients to it."""

    process: Process
    url: str
    environment: dict[str, str]


@contextmanager
def running(launch: Launch, folder: Path) -> Iterator[Process]:
    """A service while the block lasts, from when it is ready; its log is FOLDER/NAME.log."""
    process = spawn(launch.name, launch.command, launch.environment, folder / f"{launch.name}.log", folder)
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not launch.is_ready():
            assert find(process) is not None, f"{launch.name} ended:\n{last_lines(process.log)}"
            assert time.monotonic() < deadline, f"{launch.name} is not ready:\n{last_lines(process.log)}"
            time.sleep(0.1)
        yield process
    finally:
        end([process])


@contextmanager
def prefect(postgres: Postgres, folder: Path, ports: Ports) -> Iterator[Server]:
    """A Prefect server over the database `prefect`, behind an authentication string and CSRF tokens.

    Args:
        postgres: Must not have that database yet.
        folder: Of the secrets and the log; see `commands.make_secrets`.
        ports: Where it listens.
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
def mlflow(postgres: Postgres, folder: Path, ports: Ports, *, artifacts: str | None = None) -> Iterator[Server]:
    """An MLflow server over the database `mlflow`, with its basic authentication over the database `users`.

    Args:
        postgres: Must not have those databases yet.
        folder: Of the settings and the log.
        ports: Where it listens.
        artifacts: URI that the server keeps artifacts under; None is FOLDER/artifacts.
    """
    for name in ("mlflow", "users"):
        postgres.create(name)
    login = {"MLFLOW_TRACKING_USERNAME": "betaline", "MLFLOW_TRACKING_PASSWORD": postgres.password}
    settings = folder / "users.ini"
    settings.touch(mode=0o600)
    settings.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {postgres.url('users', 'postgresql+psycopg2')}\n"
    )
    launch = commands.mlflow(folder, ports, database=postgres.url("mlflow", "postgresql+psycopg2"), artifacts=artifacts)
    launch = replace(
        launch,
        command=[*launch.command, "--app-name", "basic-auth"],
        environment={
            **launch.environment,
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_USERNAME": login["MLFLOW_TRACKING_USERNAME"],
            "MLFLOW_AUTH_ADMIN_PASSWORD": login["MLFLOW_TRACKING_PASSWORD"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": os.urandom(32).hex(),
        },
    )
    url = f"http://{LOOPBACK}:{ports.mlflow}"
    with running(launch, folder) as process:
        yield Server(process=process, url=url, environment={"MLFLOW_TRACKING_URI": url, **login})


def why_no_mlflow() -> str | None:
    """Why no MLflow server with authentication can be started here; None where one can."""
    return None if find_spec("flask_wtf") else "MLflow's basic authentication needs Flask-WTF"
