"""Recorded schemas of the servers' databases: `python -m tests.schemas` makes them by the servers' own migrations."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.services.schemas import schema_of

MIGRATIONS = {
    "prefect": "import asyncio, prefect.server.database as d; asyncio.run(d.provide_database_interface().create_db())",
    "mlflow": (
        "import sys, mlflow.store.db.utils as d, mlflow.store.tracking.dbmodels.models; "
        "d._safe_initialize_tables(d.create_sqlalchemy_engine(sys.argv[1]))"
    ),
}
"""Python that migrates an empty database, by the name of its server."""


def migrated(server: str, folder: Path) -> str:
    """Returns the dump of a database that the migrations of a server have made."""
    path = folder / f"{server}.db"
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{path}",
    }
    command = [sys.executable, "-c", MIGRATIONS[server], f"sqlite:///{path}"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return dump(path)


def dump(path: Path) -> str:
    """Returns a database as SQL."""
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump()) + "\n"


def main() -> None:
    """Writes the schemas of the installed servers in place of those of other versions."""
    for server in MIGRATIONS:
        path = schema_of(server)
        for outdated in path.parent.glob(f"{server}-*.sql"):
            outdated.unlink()
        with TemporaryDirectory() as folder:
            path.write_text(migrated(server, Path(folder)))
        print(path)


if __name__ == "__main__":
    main()
