"""The doctor finds what is wrong, and says how to mend it."""

from __future__ import annotations

import os
import socket
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pipelines.services import Services, commands, doctor
from pipelines.services.doctor import Check, examine
from pipelines.services.embedded import STATE_FILE, VARIABLES

pytestmark = pytest.mark.servers("services")


def named(checks: list[Check], name: str) -> Check:
    """The one check of a name."""
    [found] = [check for check in checks if check.name == name]
    return found


def test_examine_finds_running_services_well(services: Services) -> None:
    """With the services up nothing fails, and the cluster is named with what it has."""
    checks = examine(services.home)
    assert not [check for check in checks if check.status == "fail"]
    assert named(checks, "services").found == "prefect, mlflow, ray run and answer"
    assert named(checks, "cluster").found.startswith(f"{services.ray_address}: 1 node(s), ")


@pytest.mark.usefixtures("no_servers")
def test_examine_changes_nothing(tmp_path: Path) -> None:
    """A home that does not exist yet is well, and the check does not make it."""
    home = tmp_path / "home"
    checks = examine(home)
    assert not [check for check in checks if check.status == "fail"]
    assert named(checks, "services").found.startswith(f"not running; betaline up --home {home} starts them")
    assert not home.exists()


@pytest.mark.usefixtures("no_servers")
def test_examine_finds_a_readable_token(tmp_path: Path) -> None:
    """A token that others may read fails, with the command that mends it."""
    commands.make_secrets(tmp_path)
    assert named(examine(tmp_path), "tokens").status == "ok"
    token = tmp_path / "secrets" / "ray_token"
    token.chmod(0o644)
    check = named(examine(tmp_path), "permissions of ray_token")
    assert check.status == "fail"
    assert "has mode 644, others may read it" in check.found
    assert check.mend.startswith(f"chmod 600 {token}; ")


@pytest.mark.usefixtures("no_servers")
def test_examine_finds_a_dead_service(services: Services, tmp_path: Path) -> None:
    """A recorded service whose process has ended fails by name, and points at its log."""
    text = (Path(services.home) / STATE_FILE).read_text()
    for root in services.processes:
        text = text.replace(f'"pid": {root.pid}', '"pid": 999999999' if root.name == "mlflow" else f'"pid": {root.pid}')
    (tmp_path / STATE_FILE).write_text(text)
    check = named(examine(tmp_path), "mlflow")
    assert check.status == "fail"
    assert "process 999999999 has ended; its log: " in check.found
    assert check.mend == f"betaline down --home {tmp_path}; betaline up --home {tmp_path}"


def test_examine_finds_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses in the environment without an answer fail, each with the variable to correct."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
    checks = examine(tmp_path)
    for name, variable in zip(("prefect", "mlflow", "cluster"), VARIABLES.values(), strict=True):
        assert named(checks, name).status == "fail"
        assert variable in named(checks, name).mend


@pytest.mark.usefixtures("no_servers")
def test_examine_refuses_a_remote_home_without_servers() -> None:
    """A home in an object store needs servers elsewhere, and the message says which variables name them."""
    check = named(examine("s3://bucket/home"), "home")
    assert check.status == "fail"
    assert "or set MLFLOW_TRACKING_URI, PREFECT_API_URL and RAY_ADDRESS" in check.found


def test_package_check_sees_what_pip_check_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fastapi 0.165 breaks Prefect at import; a version outside the project's own range fails with the cure."""
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.165.0" if name == "fastapi" else real(name))
    assert doctor._package(Requirement("fastapi<0.150")) == Check(
        name="package fastapi",
        status="fail",
        found="0.165.0, <0.150 is needed",
        mend="pip install 'fastapi<0.150'",
    )
    assert doctor._package(Requirement("ray[default]>=2.60,<2.61")) is None
    assert doctor._package(Requirement("no-such-package>=1; extra == 'dev'")) is None
    missing = doctor._package(Requirement("no-such-package>=1"))
    assert missing is not None
    assert missing.found == "not installed, >=1 is needed"


def test_disk_check_fails_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little space fails, little space warns, and both say where to go."""
    for free, status in ((doctor.GIB // 2, "fail"), (5 * doctor.GIB, "warn"), (50 * doctor.GIB, "ok")):
        usage = doctor.shutil._ntuple_diskusage(0, 0, free)  # type: ignore[attr-defined]
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path, usage=usage: usage)
        [check] = doctor._disk(tmp_path)
        assert check.status == status
        assert ("BETALINE_HOME" in check.mend) == (status != "ok")


def test_home_that_others_can_change_is_said(tmp_path: Path) -> None:
    """A home of mode 777 works, and the doctor warns with the command that mends it."""
    tmp_path.chmod(0o777)
    check, _ = doctor._disk(tmp_path)
    assert (check.status, check.mend) == ("warn", f"chmod go-w {tmp_path}")
    assert "has mode 777: others can change what is in it" in check.found


def test_home_without_inodes_or_below_a_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with space and no inodes takes no file, and a file takes no folder."""
    (tmp_path / "file").touch()
    [check] = doctor._disk(tmp_path / "file" / "home")
    assert (check.status, check.found) == ("fail", f"{tmp_path / 'file'} is not a folder")
    facts = os.statvfs(tmp_path)
    full = os.statvfs_result((*facts[:6], 0, 0, *facts[8:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert "none left" in named(list(doctor._disk(tmp_path)), "inodes").found
