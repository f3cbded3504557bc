"""Tests of the recorded schemas of the servers' databases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.services.schemas import make_database, schema_of
from tests.schemas import MIGRATIONS, dump, migrated


@pytest.mark.ci
@pytest.mark.parametrize("server", MIGRATIONS)
def test_recorded_schema_is_what_migrations_make(server: str, tmp_path: Path) -> None:
    """A new home has the database that the server would have made; `python -m tests.schemas` renews the file."""
    # As words in any order: that of a table's constraints differs between two migrations.
    recorded, made = (
        sorted(re.findall(r"[^\s,]+", sql)) for sql in (schema_of(server).read_text(), migrated(server, tmp_path))
    )
    assert recorded == made


@pytest.mark.parametrize("server", MIGRATIONS)
def test_new_database_has_the_recorded_schema(server: str, tmp_path: Path) -> None:
    """The installed versions have a file, and the database made of it, once, is that file."""
    path = tmp_path / "new.db"
    make_database(server, path)
    assert dump(path) == schema_of(server).read_text()
    path.write_bytes(b"of a user")
    make_database(server, path)
    assert path.read_bytes() == b"of a user"


def test_full_folder_leaves_the_database_to_the_server(tmp_path: Path) -> None:
    """A folder that takes no file is the server's to complain about."""
    make_database("prefect", tmp_path / "absent" / "new.db")
    assert list(tmp_path.iterdir()) == []
