"""Secrets stay in files of their owner alone, and in the environment of the processes that need them."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipelines import services as embedded
from pipelines.cluster.resources import Cluster
from pipelines.services import Services, commands
from pipelines.services.embedded import STATE_FILE
from tests.processes import betaline
from tests.security.table import Answered

pytestmark = pytest.mark.servers("services")


def test_secrets_are_readable_by_their_owner_alone(services: Services, answered: Answered) -> None:
    """Tokens, passwords and the state file are of mode 600, their folder and Ray's of mode 700."""
    home = Path(services.home)
    for folder in (home / "secrets", commands.ray_folder(home)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    files = [*(home / "secrets").iterdir(), home / STATE_FILE]
    assert {"ray_token", "prefect_auth", "mlflow_password"} <= {file.name for file in files}
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    answered("files", f"modes of {', '.join(sorted(file.name for file in files))}", "600, in a folder of 700")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("0.0.0.0", "refusing to listen on 0.0.0.0: the embedded servers speak plain HTTP"),
        ("::", "refusing to listen on ::"),
        ("192.168.1.2", "refusing to listen on 192.168.1.2"),
        ("example.org", "refusing to listen on example.org"),
        ("127.0.0.2", "the services listen on 127.0.0.1, not on 127.0.0.2"),
        ("::1", "the services listen on 127.0.0.1, not on ::1"),
    ],
)
def test_up_refuses_every_host_but_its_own(
    host: str, message: str, tmp_path: Path, refusal: Callable[..., str], answered: Answered
) -> None:
    """`betaline up --host` takes 127.0.0.1 and localhost; anything else is refused before anything is made."""
    said = refusal("up", "--host", host)
    assert message in said
    assert not (tmp_path / "home").exists()
    answered("betaline up --host", host, said)


class CommandLines:
    """Every command line on this machine while it watches."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._ended = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
            watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):  # a worker's first command line lasts for about a second
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue  # it has just ended


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_secret_is_told_by_a_job(own_home: Path, answered: Answered) -> None:
    """After an ingest, a training and a promotion no secret is in any file but its own, in what MLflow, Prefect and Ray
    tell, in what a command prints, or in any command line.
    """
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "planted-in-the-environment"}
    lines, said = CommandLines(), {}

    def run(*arguments: str) -> dict[str, object]:
        done = betaline(*arguments, "--json", home=own_home, environment=environment, limit_seconds=600)
        assert done.returncode == 0, done.stderr
        said[f"what betaline {arguments[0]} prints"] = done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    with lines.watched():
        run("up")
        run("ingest", "sklearn:digits", "digits")
        trained = run("train", "digits", "--set", "training.epochs=1")
        run("promote", str(trained["run"]), "digits")
        run("doctor")
        run("models")
    running = embedded.read(own_home)
    assert running is not None
    said |= {"a command line": "\n".join(lines.seen), **of_ray(running), **of_files(own_home)}

    known = {name: commands.read_secret(own_home, name) for name in ("ray_token", "prefect_auth", "mlflow_password")}
    known["prefect_auth"] = known["prefect_auth"].rpartition(":")[2]
    known |= {"encryption key": commands.read_secret(own_home, "prefect_encryption_key")}
    known["AWS_SECRET_ACCESS_KEY"] = environment["AWS_SECRET_ACCESS_KEY"]
    for place in ("a command line", "what Ray tells of jobs", "mlflow.db", "prefect.db"):
        assert str(trained["run"]) in said[place], f"{place} must be seen to be searched"
    leaks = [f"{name} in {place}" for place, text in said.items() for name, value in known.items() if value in text]
    assert not leaks
    answered("a job", f"{len(known)} secrets in {len(said)} files, databases, answers and outputs", "none found")
    answered("a job", f"{len(known)} secrets in {len(lines.seen)} command lines of the machine", "none found")


def of_ray(running: Services) -> dict[str, str]:
    """Returns what Ray's dashboard shows to a client with its token."""
    token = commands.read_secret(Path(running.home), "ray_token")
    cluster = Cluster(address=running.ray_address, headers={"Authorization": f"Bearer {token}"})
    paths = {
        "jobs": "/api/jobs/",
        **{kind: f"/api/v0/{kind}" for kind in ("actors", "workers", "tasks", "runtime_envs")},
    }
    return {f"what Ray tells of {kind}": json.dumps(cluster.get(path, detail="1")) for kind, path in paths.items()}


def of_files(home: Path) -> dict[str, str]:
    """Every file of a home but those of its secrets, Ray's of /tmp as well; databases row by row."""
    told = {}
    for folder in (home, commands.ray_folder(home)):
        for file in folder.rglob("*"):
            if file.is_file() and home / "secrets" not in file.parents:
                told[str(file.relative_to(folder))] = file.read_bytes().decode(errors="replace")
    for name in ("mlflow.db", "prefect.db"):
        with closing(sqlite3.connect(home / name)) as database:
            told[name] = "\n".join(database.iterdump())
    return told
