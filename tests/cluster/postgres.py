"""A PostgreSQL server of the tests' own: a temporary folder, a port of loopback, one user with a password."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg2

from pipelines.services.process import LOOPBACK, NUM_PORTS, free_port

USER = "betaline"
ACCOUNT = "postgres"
"""User that runs the server if the tests run as root, which PostgreSQL refuses."""


def binaries() -> Path | None:
    """Returns the folder of PostgreSQL's programs, which Debian keeps off the path; None if it is not installed."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


def why_no_postgres() -> str | None:
    """Returns why no server can be started here; None if one can."""
    if binaries() is None:
        return "PostgreSQL is not installed (Debian: postgresql)"
    if os.getuid() == 0 and ACCOUNT not in {user.pw_name for user in pwd.getpwall()}:
        return f"PostgreSQL refuses to run as root, and there is no user {ACCOUNT}"
    return None


class Postgres:
    """A server over its own data directory, which a test can stop and start.

    Args:
        folder: Folder of the data, the log and the password. The user who runs the server must reach it.
    """

    def __init__(self, folder: Path) -> None:
        programs = binaries()
        assert programs is not None, why_no_postgres()
        self.programs = programs
        self.folder = folder
        self.password = secrets.token_hex(16)
        self.port = free_port(secrets.randbelow(NUM_PORTS), set())
        password_file = folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if os.getuid() == 0:
            for path in (folder, password_file):
                shutil.chown(path, ACCOUNT, pwd.getpwnam(ACCOUNT).pw_gid)
        # Without a locale the encoding would be ASCII, which Prefect's texts are not.
        options = ("--auth", "scram-sha-256", "--no-locale", "--encoding", "UTF8")
        self._run("initdb", "--username", USER, "--pwfile", password_file, *options)
        settings = {"listen_addresses": LOOPBACK, "port": self.port, "unix_socket_directories": ""}
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Starts it and waits until it answers; after an immediate stop it recovers first."""
        self._run("pg_ctl", "start", "--wait", "--silent", "--log", self.folder / "server.log")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops it: transactions are rolled back (fast), or all its processes end as in a crash (immediate)."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode", mode)

    def is_running(self) -> bool:
        """Returns whether there is a server process."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def create(self, database: str) -> None:
        """Makes an empty database."""
        self.query("postgres", f'CREATE DATABASE "{database}"')

    def url(self, database: str, driver: str = "postgresql") -> str:
        """Returns the SQLAlchemy URL of a database, with a driver such as `postgresql+asyncpg`."""
        return f"{driver}://{USER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def query(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Returns the rows that a statement answers with."""
        with closing(psycopg2.connect(self.url(database))) as connection:
            connection.autocommit = True  # CREATE DATABASE refuses to be part of a transaction
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *options: str | Path) -> None:
        account: dict[str, Any] = {}
        if os.getuid() == 0:
            account = {"user": ACCOUNT, "group": pwd.getpwnam(ACCOUNT).pw_gid, "extra_groups": []}
        subprocess.run(
            [self.programs / program, *options, "--pgdata", self.folder / "data"],
            cwd=self.folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # not a pipe: the server keeps what it inherits, and the pipe would never end
            **account,
        )


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Yields a running server, and removes it afterwards with all its data."""
    # Not below pytest's folders, which their owner, such as root, alone can read.
    folder = Path(tempfile.mkdtemp(prefix="betaline-postgres-"))
    try:
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            if server.is_running():
                server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
