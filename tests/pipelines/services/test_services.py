"""The embedded services are closed to strangers, end when they should, and leave nothing behind."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines import services as embedded
from pipelines.services import commands, lease, process
from pipelines.services.embedded import STATE_FILE, Services, read
from tests.processes import wait_until
from vae.errors import ServiceError

pytestmark = pytest.mark.servers("services")


@pytest.fixture(autouse=True)
def _prefect_reads_the_environment_again() -> Iterator[None]:
    """After each test, when its changes to the environment are undone: Prefect keeps what it read among them."""
    yield
    lease._refresh_prefect()


def test_services_answer_their_clients(services: Services) -> None:
    """Each of the three answers, and the environment of a client is this process's."""
    environment = services.environment()
    assert commands.is_healthy(environment["PREFECT_API_URL"])
    assert commands.is_healthy(environment["MLFLOW_TRACKING_URI"])
    assert commands.ray_is_ready(environment["RAY_ADDRESS"], Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text())
    assert {name: os.environ[name] for name in environment} == environment


def test_start_refuses_a_remote_home() -> None:
    """A home on another filesystem cannot hold embedded services, and the message names the way out."""
    with pytest.raises(ServiceError, match=r"the home is s3://bucket/home.* set MLFLOW_TRACKING_URI, PREFECT_API_URL"):
        embedded.start("s3://bucket/home")


@pytest.mark.parametrize("home", ["/proc/home", "/dev/null/home"])
def test_home_that_cannot_be_made_is_one_sentence(home: str) -> None:
    """A home below a file, or where nothing can be made, is refused with the reason and the variable to change."""
    with pytest.raises(ServiceError, match=rf"the home {home} cannot be written to: [^\n]*BETALINE_HOME"):
        embedded.start(home)


@pytest.mark.parametrize("length", [75, 76])
def test_long_name_of_the_temporary_folder_is_named_at_once(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would say nothing for minutes; the longest name that works leaves room for the longest socket of Python's."""
    folder = "/tmp/" + "x" * (length - 5)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: folder)
    assert (len(f"{folder}/pymp-12345678/listener-12345678") > 107) == (length > 75)
    if length > 75:
        with pytest.raises(
            ServiceError, match=r"has a name of 76 characters, .* at most 75; set TMPDIR to a shorter one"
        ):
            embedded.start(tmp_path)
    else:
        assert commands.temporary_trouble() is None


def test_full_disk_and_lack_of_inodes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are "No space left on device" to a program, and need another cure."""
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert embedded.embedded.why_unwritable(tmp_path / "new", error).startswith("its disk is full. Free some space")
    facts = os.statvfs(tmp_path)
    full = os.statvfs_result((*facts[:6], 0, 0, *facts[8:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert "no inodes left" in embedded.embedded.why_unwritable(tmp_path / "new", error)


def test_start_reports_what_a_service_said_last(own_home: Path) -> None:
    """A service that cannot start is reported with its last words and its log, and nothing of it is left."""
    (own_home / "mlflow.db").write_text("this is no database, and long enough to look like one" * 10)
    with pytest.raises(
        ServiceError, match=r"(?s)mlflow ended before it was ready.*file is not a database.*mlflow\.log"
    ):
        embedded.start(own_home, names=("mlflow",))
    assert read(own_home) is None
    assert not [member for member in psutil.process_iter() if str(own_home) in " ".join(_command_line(member))]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """An MLflow server that was started to last, alone in its home."""
    folder = tmp_path_factory.mktemp("lasting")
    started = embedded.start(folder, names=("mlflow",))
    yield started
    embedded.stop(started)


def test_start_keeps_running_services(lasting: Services) -> None:
    """Starting once more gives the same processes."""
    assert embedded.start(lasting.home, names=("mlflow",)) == lasting
    assert embedded.attach(lasting.home) == lasting


def test_start_refuses_to_add_to_running_services(lasting: Services) -> None:
    """Services that run without one that is needed now are not mixed with new ones."""
    with pytest.raises(ServiceError, match=r"run without ray, .* RAY_ADDRESS set"):
        embedded.start(lasting.home, names=("mlflow", "ray"))


def test_start_spares_services_that_do_not_answer(lasting: Services) -> None:
    """Live services that somebody may be using are not replaced because they are slow; the message says how to."""
    members = [member for root in lasting.processes for member in process.tree(root)]
    for member in members:
        member.suspend()
    try:
        with pytest.raises(
            ServiceError, match=r"no answer from mlflow, .* betaline down --home \S+\. Log: .*mlflow\.log"
        ):
            embedded.start(lasting.home, names=("mlflow",), limit_seconds=1)
    finally:
        for member in members:
            member.resume()
    assert embedded.attach(lasting.home) == lasting


@pytest.mark.slow
@pytest.mark.ci
def test_start_replaces_dead_services_and_stop_spares_strangers(own_home: Path) -> None:
    """After a kill new services come up at the same address; stopping ends their trees, and no reused pid."""
    first = embedded.start(own_home, names=("mlflow",))
    for member in process.tree(first.processes[0]):
        member.kill()
    port = int(first.mlflow_url.rpartition(":")[2])
    # Its start must not depend on how fast the kernel takes the socket of a killed process back.
    wait_until(lambda: commands.choose_ports(own_home).mlflow == port, 10)
    assert embedded.attach(own_home) is None
    second = embedded.start(own_home, names=("mlflow",))
    assert second.processes != first.processes
    assert second.mlflow_url == first.mlflow_url

    members = [member for root in second.processes for member in process.tree(root)]
    assert members
    stranger = process.spawn("stranger", ["sleep", "60"], os.environ, own_home / "stranger.log", own_home)
    reused = process.Process(name="prefect", pid=stranger.pid, create_time=stranger.create_time - 100, log="")
    embedded.stop(dataclasses.replace(second, processes=(*second.processes, reused)))
    assert not [member for member in members if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert process.find(stranger) is not None
    process.end([stranger])
    assert process.find(stranger) is None
    assert not (own_home / STATE_FILE).exists()


USER = """
import sys
from pipelines import services
with services.connect(sys.argv[1]) as found:
    print("ready", found.mlflow_url, flush=True)
    sys.stdin.read()
"""


def _user(folder: Path) -> subprocess.Popen[str]:
    """A process that uses the MLflow server of a home until its standard input ends."""
    elsewhere = "http://127.0.0.1:1"
    environment = {**os.environ, "PREFECT_API_URL": f"{elsewhere}/api", "RAY_ADDRESS": elsewhere}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def _ready(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    line = user.stdout.readline().split()
    assert line[:1] == ["ready"]
    return line[1]


def _close(user: subprocess.Popen[str]) -> None:
    user.communicate(timeout=60)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, marks=[pytest.mark.slow, pytest.mark.ci]),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_connect_ends_its_services_when_its_process_is_killed(own_home: Path, number: signal.Signals) -> None:
    """Services started for one command end with it, however it ends, and leave no state file."""
    user = _user(own_home)
    _ready(user)
    services = read(own_home)
    assert services is not None
    user.send_signal(number)
    _close(user)
    wait_until(lambda: read(own_home) is None, 30)
    assert not [member for root in services.processes for member in process.tree(root)]


@pytest.mark.slow
@pytest.mark.ci
def test_start_that_is_terminated_leaves_nothing(own_home: Path) -> None:
    """SIGTERM of `betaline up` before its servers are ready ends them, as Ctrl-C does."""
    command = [sys.executable, "-m", "pipelines.cli", "up", "--home", str(own_home)]
    starting = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: (own_home / "logs" / "ray.log").exists(), 60)
    servers = psutil.Process(starting.pid).children(recursive=True)
    starting.terminate()
    assert starting.wait(60)
    assert servers
    assert not psutil.wait_procs(servers, timeout=30)[1]
    assert read(own_home) is None


@pytest.mark.slow
@pytest.mark.ci
def test_connect_shares_services_until_the_last_user_leaves(own_home: Path) -> None:
    """A second command uses the first one's services, which outlive the first and end with the second."""
    first = _user(own_home)
    url = _ready(first)
    second = _user(own_home)
    assert _ready(second) == url
    _close(first)
    assert commands.is_healthy(url)
    _close(second)
    assert read(own_home) is None
    assert not commands.is_healthy(url)


def test_connect_leaves_lasting_services_running(lasting: Services) -> None:
    """Services that were started to last outlive the commands that use them."""
    user = _user(Path(lasting.home))
    assert _ready(user) == lasting.mlflow_url
    _close(user)
    assert embedded.attach(lasting.home) == lasting


def test_connect_prefers_the_servers_of_the_environment(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all three addresses in the environment nothing is started, and they are what is returned."""
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    monkeypatch.setenv("RAY_ADDRESS", "https://ray.example:8265/")
    for where in (str(own_home / "home"), "s3://bucket/home"):
        with embedded.connect(where) as services:
            assert services.processes == ()
            assert services.prefect_url == "https://prefect.example"
            assert services.mlflow_url == "https://mlflow.example"
            assert services.ray_address == "https://ray.example:8265"
            assert "PREFECT_API_AUTH_STRING" not in services.environment()


def test_exported_hides_the_token_of_another_cluster(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would take a token of the environment before the file of the embedded head's, and be refused."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of another cluster")
    with embedded.exported(services):
        assert "RAY_AUTH_TOKEN" not in os.environ
    assert os.environ["RAY_AUTH_TOKEN"] == "of another cluster"


def test_exported_reaches_a_prefect_that_is_imported_already(services: Services) -> None:
    """Prefect's settings, read once at its import, follow the environment."""
    from prefect.settings import get_current_settings

    assert get_current_settings().api.url == services.prefect_api_url
    elsewhere = dataclasses.replace(services, prefect_api_url="http://127.0.0.1:9/api")
    with embedded.exported(elsewhere):
        assert get_current_settings().api.url == "http://127.0.0.1:9/api"
    assert get_current_settings().api.url == services.prefect_api_url


def test_choose_ports_are_stable_distinct_and_free(tmp_path: Path) -> None:
    """The same home gets the same ports, all different, and steps aside from one in use."""
    ports = commands.choose_ports(tmp_path)
    assert commands.choose_ports(tmp_path) == ports
    assert len(set(vars(ports).values())) == 5
    with socket.create_server((process.LOOPBACK, ports.mlflow)):
        assert commands.choose_ports(tmp_path).mlflow == ports.mlflow + 1


def test_read_refuses_a_state_file_of_another_format(tmp_path: Path) -> None:
    """A state file that this version did not write is an error that says what to do."""
    (tmp_path / STATE_FILE).write_text(json.dumps({"format": 0}))
    with pytest.raises(ServiceError, match="was written by another version of betaline"):
        read(tmp_path)
    (tmp_path / STATE_FILE).write_text("{")
    with pytest.raises(ServiceError, match="is not JSON"):
        read(tmp_path)


def _command_line(member: psutil.Process) -> list[str]:
    try:
        return member.cmdline()
    except psutil.Error:
        return []


CLIENT = """
import os, sys, json, tempfile, pathlib
from prefect import flow, task, get_client
from prefect.artifacts import create_markdown_artifact

@task
def double(number: int) -> int:
    return 2 * number

@flow
def doubled(number: int) -> int:
    create_markdown_artifact("twice", key="note")
    return double(number)

state = doubled(21, return_state=True)
with get_client(sync_client=True) as client:
    run = client.read_flow_run(state.state_details.flow_run_id)

import mlflow
mlflow.set_experiment("clients")
with mlflow.start_run() as started:
    mlflow.log_metric("loss", 1.5)
    path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    path.write_text("kept")
    mlflow.log_artifact(str(path))
uri = mlflow.get_run(started.info.run_id).info.artifact_uri
kept = mlflow.artifacts.load_text(f"{uri}/note.txt")
print(json.dumps({"state": run.state.name, "result": state.result(), "uri": uri, "kept": kept}))
"""


def test_clients_run_flows_and_keep_artifacts_over_http(services: Services, tmp_path: Path) -> None:
    """A process with the clients' environment runs a flow, and keeps a file through the MLflow server alone."""
    client = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env={**os.environ, **services.environment()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert client.returncode == 0, client.stderr
    found = json.loads(client.stdout.splitlines()[-1])
    assert found["state"] == "Completed"
    assert found["result"] == 42
    assert found["kept"] == "kept"
    assert found["uri"].startswith("mlflow-artifacts:/")
    assert list((Path(services.home) / "artifacts").rglob("note.txt"))
    assert list(tmp_path.iterdir()) == [], "nothing may be kept beside the server"
    said = client.stdout + client.stderr
    assert "Traceback" not in said
    assert "Unauthorized" not in said
