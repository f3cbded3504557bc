"""Prefect and MLflow over PostgreSQL."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

import psycopg2
import pytest

from pipelines.services import commands
from tests.cluster import servers
from tests.cluster.postgres import Postgres

pytestmark = [pytest.mark.servers("cluster"), pytest.mark.slow]


def test_postgres_keeps_what_was_committed_through_a_crash(postgres: Postgres) -> None:
    """A row survives an immediate stop; a stopped server refuses, and so does a running one with a wrong password."""
    postgres.create("kept")
    postgres.query("kept", "CREATE TABLE rows (value int); INSERT INTO rows VALUES (7)")
    postgres.stop("immediate")
    assert not postgres.is_running()
    with pytest.raises(psycopg2.OperationalError, match="Connection refused"):
        postgres.query("kept", "SELECT 1")
    postgres.start()
    assert postgres.query("kept", "SELECT value FROM rows") == [(7,)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(postgres.url("kept").replace(postgres.password, "guessed"))


def test_prefect_and_mlflow_keep_their_state_in_postgres(postgres: Postgres, tmp_path: Path) -> None:
    """Both answer only clients with the password, and keep their state in PostgreSQL's tables."""
    commands.make_secrets(tmp_path)
    ports = commands.choose_ports(tmp_path)
    with servers.prefect(postgres, tmp_path, ports) as prefect, servers.mlflow(postgres, tmp_path, ports) as mlflow:
        environment = {**prefect.environment, **mlflow.environment}
        prefect_login = environment["PREFECT_API_AUTH_STRING"]
        mlflow_login = f"{environment['MLFLOW_TRACKING_USERNAME']}:{environment['MLFLOW_TRACKING_PASSWORD']}"
        made = f"{mlflow.url}/api/2.0/mlflow/experiments/create"
        assert answer(f"{prefect.url}/api/flows/filter", {}, prefect_login) == (403, None), "no CSRF token"
        assert answer(f"{prefect.url}/api/admin/version", None, "guess:ed")[0] == 401
        assert answer(f"{prefect.url}/api/admin/version", None, prefect_login)[0] == 200
        assert answer(made, {"name": "refused"}, "betaline:guessed")[0] == 401
        assert answer(made, {"name": "kept"}, mlflow_login)[0] == 200
    assert ("kept",) in postgres.query("mlflow", "SELECT name FROM experiments")
    assert ("refused",) not in postgres.query("mlflow", "SELECT name FROM experiments")
    assert postgres.query("users", "SELECT username FROM users") == [("betaline",)]
    assert postgres.query("prefect", "SELECT count(*) > 0 FROM alembic_version") == [(True,)]
    assert not list(tmp_path.glob("*.db")), "SQLite was not used"


def answer(url: str, body: object, login: str) -> tuple[int, object]:
    """The status, and the JSON of a 200, that a caller with a login gets."""
    headers = {
        "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
        "Content-Type": "application/json",
    }
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
