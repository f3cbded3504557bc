"""secrets.sh draws the secrets of the servers once, into files that their owner alone can read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.infra.files import INFRA, read_settings

EXAMPLES = [INFRA / "compose" / ".env.example", INFRA / "kubernetes" / "base" / "secrets.env.example"]


def _draw(example: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", INFRA / "secrets.sh", example, target], capture_output=True, text=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=["compose", "kubernetes"])
def test_secrets_are_drawn_for_every_name(example: Path, tmp_path: Path) -> None:
    """A name without a value gets one that its server accepts; other values stay; nothing is printed."""
    drawn = _draw(example, tmp_path / "drawn")
    assert (drawn.returncode, drawn.stdout, drawn.stderr) == (0, "", "")
    before, after = read_settings(example), read_settings(tmp_path / "drawn")
    assert after.keys() == before.keys()
    assert {name: after[name] for name, value in before.items() if value} == {n: v for n, v in before.items() if v}
    fresh = [after[name] for name, value in before.items() if not value]
    assert len(set(fresh)) == len(fresh) >= 10
    assert min(map(len, fresh)) >= 43, "256 bits"
    Fernet(after["PREFECT_KEY"])
    user, _, password = after["PREFECT_LOGIN"].partition(":")
    assert user == "betaline"
    assert password.isalnum()
    assert (tmp_path / "drawn").stat().st_mode & 0o777 == 0o600


def test_secrets_are_not_drawn_anew(tmp_path: Path) -> None:
    """An existing file stays as it is: its secrets are those of existing databases."""
    target = tmp_path / ".env"
    target.write_text("RAY_TOKEN=kept\n")
    refused = _draw(EXAMPLES[0], target)
    assert refused.returncode == 1
    assert "is there already" in refused.stderr
    assert target.read_text() == "RAY_TOKEN=kept\n"
