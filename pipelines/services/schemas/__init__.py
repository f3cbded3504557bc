"""Databases of new homes, made from recorded schemas in milliseconds: the servers' own migrations take seconds.

A file holds the schema that the migrations of one version of a server lead to, with the rows that they insert. Without the
file of the installed version the server migrates an empty database itself. `python -m tests.schemas` renews the files.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path


def schema_of(server: str) -> Path:
    """Returns the path of the schema of a server ("prefect" or "mlflow") in its installed version."""
    return Path(__file__).with_name(f"{server}-{version(server)}.sql")


def make_database(server: str, path: Path) -> None:
    """Makes the SQLite database of a server, unless it exists, its schema is not recorded, or the disk does not take it."""
    schema = schema_of(server)
    if path.exists() or not schema.exists():
        return
    staged = path.with_suffix(".staged")
    with suppress(OSError, sqlite3.Error):  # the server will say what is wrong with the folder
        staged.unlink(missing_ok=True)
        staged.touch(mode=0o600)
        with closing(sqlite3.connect(staged)) as database:
            database.executescript(f"PRAGMA synchronous = OFF; {schema.read_text()}")
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        staged.replace(path)
