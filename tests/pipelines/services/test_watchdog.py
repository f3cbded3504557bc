"""The watch over Prefect: real processes that end, and a command whose services end under it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from pipelines.services import Services, embedded, process, watchdog
from tests.processes import betaline, wait_until
from vae.errors import ServiceError

pytestmark = pytest.mark.servers("services")
SETTINGS = ("model.latent_dim=2", "model.encoder={kind: mlp, hidden: [16]}", "training.epochs=100000")


def _services(home: Path) -> Services:
    """Services of a home whose Prefect server is a process that only sleeps."""
    sleeping = process.spawn("prefect", ["sleep", "600"], os.environ, home / "prefect.log", home)
    return Services(
        home=str(home),
        prefect_url="http://127.0.0.1:1",
        prefect_api_url="http://127.0.0.1:1/api",
        mlflow_url="",
        ray_address="",
        processes=(sleeping,),
    )


def test_watch_bears_a_restart_and_tells_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect that others have started again is no loss; Prefect that stays away is one, named with its home and log."""
    monkeypatch.setattr(watchdog, "PATIENCE_SECONDS", 2.0)
    first, second = _services(tmp_path), _services(tmp_path)
    embedded._write(second)
    losses, lost = list[ServiceError](), threading.Event()
    with watchdog.watched(first, lambda loss: (losses.append(loss), lost.set())):
        process.end(first.processes)
        assert not lost.wait(4)
        process.end(second.processes)
        assert lost.wait(6)
    assert len(losses) == 1
    for word in (str(tmp_path), "prefect", "betaline up", str(tmp_path / "prefect.log")):
        assert word in str(losses[0])


def test_watch_ends_with_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that are stopped after the block are no loss."""
    monkeypatch.setattr(watchdog, "PATIENCE_SECONDS", 0.0)
    services, losses = _services(tmp_path), list[ServiceError]()
    with watchdog.watched(services, losses.append):
        pass
    process.end(services.processes)
    wait_until(lambda: all(thread.name != "watchdog" for thread in threading.enumerate()), 5)
    assert not losses


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.timeout(400)
def test_command_ends_in_words_when_its_services_are_gone(own_home: Path) -> None:
    """`betaline down` under a training ends its command with one sentence and the command that goes on with the run."""
    assert betaline("ingest", "sklearn:digits", "digits", home=own_home).returncode == 0
    assert betaline("up", home=own_home).returncode == 0
    settings = [f"--set={setting}" for setting in SETTINGS]
    command = [sys.executable, "-m", "pipelines.cli", "train", "digits", "--home", str(own_home), *settings]
    training = subprocess.Popen([*command, "--run", "lost"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until((own_home / "runs" / "lost" / "spec.json").exists, 120, "its job is submitted")
    assert betaline("down", home=own_home).returncode == 0
    said, errors = training.communicate(timeout=watchdog.PATIENCE_SECONDS + 30)
    assert training.returncode == 1
    assert "ServiceError services of" in errors
    assert "prefect, mlflow, ray" in errors
    assert "Traceback" not in errors
    assert f"To resume: {shlex.join(['betaline', *command[3:], '--run', 'lost'])}" in said
    assert not psutil.pid_exists(training.pid)
