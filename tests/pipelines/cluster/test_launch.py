"""Jobs run once, report in their own words, and give their CPUs back when they are stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from pipelines.cluster import launch
from pipelines.cluster import resources as clusters
from pipelines.cluster.demands import ClusterStatus, ask_cluster
from pipelines.cluster.launch import run_job, stop_job
from pipelines.cluster.resources import Resources, check_resources, patiently
from pipelines.cluster.runs import RESULT, Event, RunFolder
from pipelines.operating.status import explain
from pipelines.services import Services, commands, process
from tests.cluster.nodes import Head, head
from tests.processes import available_cpus, total_cpus, wait_until
from vae.errors import ClusterError, ClusterLost, ConfigError, DataError

pytestmark = pytest.mark.servers("services")

# A job whose specification holds its program; it resumes from what is beside its specification.
JOB = """
import json, pathlib, sys, time
kind, folder = sys.argv[1], pathlib.Path(sys.argv[3]).parent
spec = json.loads(pathlib.Path(sys.argv[3]).read_text())
def leave(name, record): (folder / name).write_text(json.dumps(record))
exec(spec["program"])
"""
HOLD_ALL_CPUS = """
import ray
ray.init(logging_level="error")
@ray.remote(num_cpus=1)
class Holder:
    def ready(self): return True
holders = [Holder.remote() for _ in range(int(ray.cluster_resources()["CPU"]))]
ray.get([holder.ready.remote() for holder in holders])
more = ray.util.placement_group([{"GPU": 1}] * 4)
print('BETALINE_EVENT {"kind": "holding"}', flush=True)
time.sleep(600)
"""


class Recorder:
    """What a job said: its events and its other lines."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lines: list[str] = []
        self.seen = threading.Event()

    def on_event(self, event: Event) -> None:
        """Keep an event, and wake who waits for one."""
        self.events.append(event)
        self.seen.set()


Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def recorder() -> Recorder:
    """An empty record of what a job says."""
    return Recorder()


@pytest.fixture
def run(services: Services, tmp_path: Path, recorder: Recorder) -> Runner:
    """Run a program as a job of the session's cluster."""
    script = tmp_path / "job.py"
    script.write_text(JOB)

    def run(program: str, identity: str, **options: Any) -> dict[str, Any]:
        return run_job(
            "test",
            {"program": program},
            identity=identity,
            home=services.home,
            on_event=options.pop("on_event", recorder.on_event),
            on_log=options.pop("on_log", recorder.lines.append),
            entrypoint=[str(script)],
            **options,
        )

    return run


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    """Start a call in a thread, and a list that will hold what it raised."""
    raised: list[BaseException] = []

    def body() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, raised


def test_run_job_returns_result_and_hands_lines_on(run: Runner, recorder: Recorder) -> None:
    """The result comes back, event lines as events, other lines as log, and broken events as log too."""
    program = """
print("plain line")
print('BETALINE_EVENT {"kind": "epoch", "epoch": 3, "loss": 1.5}')
print('BETALINE_EVENT {"kind": "epo')
leave("result.json", {"answer": 42})
"""
    assert run(program, "returns") == {"answer": 42}
    assert recorder.events == [Event(kind="epoch", fields={"epoch": 3, "loss": 1.5})]
    assert "plain line" in recorder.lines
    assert 'BETALINE_EVENT {"kind": "epo' in recorder.lines


def test_run_job_uses_this_interpreter_and_code_on_the_embedded_head(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the embedded head a job runs in this environment, with what it was given, save our credentials."""
    import pipelines

    program = """
import os, pipelines
given = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_AUTH_STRING")}
leave("result.json", {"python": sys.executable, "file": pipelines.__file__, **given})
"""
    given = {
        "MLFLOW_TRACKING_URI": "http://m",
        "PREFECT_API_AUTH_STRING": "secret",
        "RAY_ADDRESS": "http://x",
    }
    found = run(program, "interpreter", environment=given)
    assert found["python"] == sys.executable
    assert found["file"] == pipelines.__file__
    assert found["MLFLOW_TRACKING_URI"] == "http://m"
    assert found["PREFECT_API_AUTH_STRING"] is None


def test_run_job_runs_nothing_twice(run: Runner, services: Services) -> None:
    """The second call with the same identity returns the first one's result without running anything."""
    program = """
count = folder / "count"
count.write_text(count.read_text() + "x" if count.exists() else "x")
leave("result.json", {"runs": len(count.read_text())})
"""
    assert run(program, "once") == {"runs": 1}
    assert run(program, "once") == {"runs": 1}
    assert RunFolder(services.home, "once").read("result.json") == {"runs": 1}


def test_run_job_sees_a_result_that_came_while_it_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that ends between the look for its result and the look for its state is not followed by another."""

    def last_attempt(client: None, identity: str) -> tuple[int, JobDetails]:
        RunFolder(str(tmp_path), identity).write(RESULT, {"answer": 42})
        return 0, JobDetails(type=JobType.SUBMISSION, entrypoint="", status=JobStatus.SUCCEEDED)

    monkeypatch.setenv("RAY_ADDRESS", "http://cluster.example")
    monkeypatch.setattr(launch, "_connect", lambda cluster: None)
    monkeypatch.setattr(launch, "_last_attempt", last_attempt)
    monkeypatch.setattr(launch, "_submit", lambda *given: pytest.fail("submitted again"))
    found = run_job("test", {}, identity="raced", home=str(tmp_path), on_event=lambda e: None, on_log=lambda line: None)
    assert found == {"answer": 42}


def test_run_job_refuses_the_name_of_another_run(run: Runner) -> None:
    """A result is not given for another specification, and the message says how the two differ."""
    run('leave("result.json", {})', "named")
    with pytest.raises(ConfigError, match=r"runs/named holds a run of another specification; 1 of its values differ: "):
        run('leave("result.json", {"other": 1})', "named")


def test_run_job_refuses_an_unfit_name(run: Runner) -> None:
    """A name that could leave its folder is refused."""
    with pytest.raises(ConfigError, match=r"a run's name is letters, digits.*, got '\.\./x'"):
        run("pass", "../x")


def test_run_job_attaches_to_a_running_job(run: Runner, services: Services, recorder: Recorder) -> None:
    """A second caller follows the same job from its first line, and both get its result."""
    program = """
print('BETALINE_EVENT {"kind": "waiting"}', flush=True)
while not (folder / "go").exists(): time.sleep(0.05)
count = folder / "count"
count.write_text(count.read_text() + "x" if count.exists() else "x")
leave("result.json", {"runs": len(count.read_text())})
"""
    results: list[dict[str, Any]] = []
    thread, raised = in_thread(lambda: results.append(run(program, "attached")))
    assert recorder.seen.wait(60)
    second = Recorder()
    other, also_raised = in_thread(
        lambda: results.append(run(program, "attached", on_event=second.on_event, on_log=second.lines.append))
    )
    assert second.seen.wait(60)
    (Path(services.home) / "runs" / "attached" / "go").touch()
    thread.join(60)
    other.join(60)
    assert not raised
    assert not also_raised
    assert results == [{"runs": 1}, {"runs": 1}]


def test_run_job_takes_a_failed_run_up_again(run: Runner) -> None:
    """After a failure the same call makes the next attempt, which finds what the last one left."""
    program = """
if not (folder / "half").exists():
    (folder / "half").touch()
    sys.exit("halfway")
leave("result.json", {"resumed": True})
"""
    with pytest.raises(ClusterLost, match=r"(?s)job again-0 failed\. It said last:.*halfway.*its whole log: http"):
        run(program, "again")
    assert run(program, "again") == {"resumed": True}


def test_run_job_raises_what_the_job_reported(run: Runner) -> None:
    """An error that the job wrote down comes back in its class and words, a foreign one as ClusterError."""
    program = 'leave("error.json", {"type": "DataError", "message": "row 7: no pixels"}); sys.exit(1)'
    with pytest.raises(DataError, match=r"^row 7: no pixels$"):
        run(program, "reported")
    program = 'leave("error.json", {"type": "SystemError", "message": "x"}); sys.exit(1)'
    with pytest.raises(ClusterError, match=r"^SystemError: x$") as foreign:
        run(program, "foreign")
    assert not isinstance(foreign.value, ClusterLost), "the job itself said what was wrong"


def test_run_job_says_when_the_result_is_elsewhere(run: Runner) -> None:
    """A job that succeeds without a result in sight points at the storage that is not shared."""
    with pytest.raises(ClusterError, match="BETALINE_HOME must be storage that this machine and the cluster share"):
        run("pass", "elsewhere")


def test_check_resources_refuses_what_can_never_run(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that a cluster cannot hold is refused in seconds, with what was asked and what there is; not if it grows."""
    cpus = int(total_cpus())
    begun = time.monotonic()
    with pytest.raises(ClusterError) as refusal:
        check_resources(Resources(num_workers=cpus + 6))
    assert time.monotonic() - begun < 5
    assert str(refusal.value) == (
        f"asked for {cpus + 6} workers of 1 CPU, the cluster has {cpus} CPU; ask for at most {cpus}, or add nodes"
    )
    with pytest.raises(ClusterError, match=f"asked for 1 workers of 1 CPU and 64 GPU, the cluster has {cpus} CPU and"):
        check_resources(Resources(num_workers=1, gpus_per_worker=64))
    check_resources(Resources(num_workers=cpus))
    monkeypatch.setenv("BETALINE_CLUSTER_AUTOSCALES", "true")
    check_resources(Resources(num_workers=1000))


def test_check_resources_counts_workers_by_node(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker must fit on one node: three nodes of 2 CPUs hold three workers of 2, and none of 3."""
    monkeypatch.setattr(clusters.Cluster, "nodes", lambda cluster: [{"CPU": 2.0}] * 3)
    check_resources(Resources(num_workers=3, cpus_per_worker=2))
    with pytest.raises(
        ClusterError, match=r"asked for 1 workers of 3 CPU, the cluster has 6 CPU on 3 nodes, .*; ask for at most 0"
    ):
        check_resources(Resources(num_workers=1, cpus_per_worker=3))


def test_run_job_checks_resources_before_it_submits(run: Runner, services: Services) -> None:
    """A job that is too large leaves nothing behind."""
    with pytest.raises(ClusterError, match="asked for 1000 workers of 1 CPU"):
        run("pass", "large", resources=Resources(num_workers=1000))
    assert not (Path(services.home) / "runs" / "large").exists()


def wants(found: ClusterStatus) -> bool:
    """Whether some job waits for a place."""
    return any(job.demands for job in found.jobs)


def test_stop_job_gives_every_cpu_back(run: Runner, recorder: Recorder) -> None:
    """What a job holds and waits for can be asked; all CPUs are free within 15 s of a stop, and its caller hears of it."""
    total = total_cpus()
    thread, raised = in_thread(lambda: run(HOLD_ALL_CPUS, "stopped"))
    assert recorder.seen.wait(90)
    wait_until(lambda: available_cpus() == 0, 15)
    wait_until(lambda: wants(ask_cluster(clusters.current_cluster())), 15)
    found = ask_cluster(clusters.current_cluster())
    job = next(one for one in found.jobs if one.submission_id == "stopped-0")
    assert (job.status, job.held) == ("RUNNING", {"CPU": total})
    words = "asked for 4 × (1 GPU): the cluster has 0 GPU and never will be enough: add nodes, or ask for less"
    assert explain(job.demands[0], found) == words
    begun = time.monotonic()
    assert stop_job("stopped")
    wait_until(lambda: available_cpus() == total, 15)
    assert time.monotonic() - begun < 15
    thread.join(60)
    assert [type(error) for error in raised] == [ClusterError]
    assert "job stopped-0 was stopped; the same command takes it up again" in str(raised[0])
    assert not stop_job("stopped")


def test_stop_job_knows_no_stranger(services: Services) -> None:
    """Stopping a run that has no job says so."""
    assert not stop_job("never-run")


CALLER = """
import sys
from pipelines.cluster.launch import run_job
run_job("test", {"program": sys.argv[3]}, identity=sys.argv[1], home=sys.argv[2], entrypoint=[sys.argv[4]],
        on_event=lambda event: print(event.kind, flush=True), on_log=lambda line: None)
"""


def test_run_job_stops_the_job_when_interrupted(run: Runner, services: Services, tmp_path: Path) -> None:
    """Ctrl-C on the caller stops the job on the cluster before the caller ends."""
    total = total_cpus()
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, "interrupted", services.home, HOLD_ALL_CPUS, str(tmp_path / "job.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, **services.environment()},
    )
    assert caller.stdout is not None
    assert caller.stdout.readline().strip() == "holding"
    caller.send_signal(signal.SIGINT)
    _, said = caller.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    wait_until(lambda: available_cpus() == total, 15)
    assert not stop_job("interrupted")


def test_run_job_survives_a_killed_caller(run: Runner, services: Services, tmp_path: Path) -> None:
    """A caller that is killed leaves the job running, and the next one attaches to it."""
    program = """
print('BETALINE_EVENT {"kind": "waiting"}', flush=True)
while not (folder / "go").exists(): time.sleep(0.05)
leave("result.json", {"attempt": "first"})
"""
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, "orphaned", services.home, program, str(tmp_path / "job.py")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, **services.environment()},
    )
    assert caller.stdout is not None
    assert caller.stdout.readline().strip() == "waiting"
    caller.kill()
    caller.communicate(timeout=60)
    (Path(services.home) / "runs" / "orphaned" / "go").touch()
    assert run(program, "orphaned") == {"attempt": "first"}


def test_run_job_stops_the_job_when_a_callback_fails(run: Runner) -> None:
    """A callback's error reaches the caller, and the job does not run on unwatched."""

    def on_event(event: Event) -> None:
        raise KeyError(event.kind)

    with pytest.raises(KeyError, match="holding"):
        run(HOLD_ALL_CPUS, "callback", on_event=on_event)
    assert not stop_job("callback")


def test_patiently_tries_again_and_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call is repeated while the connection is lost, and then given up with what to do."""
    monkeypatch.setattr(clusters, "BACK_OFF_SECONDS", (0.0, 0.0))
    tries: list[int] = []

    def call(num_failures: int) -> str:
        tries.append(1)
        if len(tries) <= num_failures:
            raise ConnectionError("refused")
        return "here"

    assert patiently(functools.partial(call, 2)) == "here"
    tries.clear()
    with pytest.raises(ClusterLost, match=r"lost the Ray cluster for 0 s: refused\. The job may still run there"):
        patiently(functools.partial(call, 3))


def test_current_cluster_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No address, one of another kind, or a token that is not there are errors that say what to set."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match=r"RAY_ADDRESS must be the http\(s\) address of a Ray dashboard, got ''"):
        clusters.current_cluster()
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ClusterError, match="got 'ray://head:10001'"):
        clusters.current_cluster()
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265/")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="the token in RAY_AUTH_TOKEN_PATH cannot be read"):
        clusters.current_cluster()


def test_check_resources_says_that_the_token_is_refused(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token is a message, not a stack of HTTP."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(
        ClusterError, match=r"refused the token \(40[13]\); set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    ):
        check_resources(Resources(num_workers=1))


@pytest.fixture(scope="module")
def second_head(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """Another cluster on this machine, of 1 CPU."""
    home = tmp_path_factory.mktemp("second")
    commands.make_secrets(home)
    with head(home, commands.choose_ports(home), num_cpus=1) as second:
        yield second


@pytest.fixture
def remote(second_head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that leads to the second head, which this process knows by address and token alone."""
    for name, value in second_head.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("remote")
def test_run_job_ships_its_code_to_a_cluster_elsewhere(run: Runner) -> None:
    """On a cluster that is not ours, driver and workers import what was uploaded: our packages alone."""
    program = """
import os, pipelines, ray, tuning, vae
ray.init(logging_level="error")
@ray.remote(num_cpus=1)
def seen():
    import pipelines.cluster.resources
    return pipelines.cluster.resources.__file__
files = [module.__file__ for module in (pipelines, tuning, vae)] + [ray.get(seen.remote())]
beside = sorted(name for path in files[:3] for name in os.listdir(pathlib.Path(path).parents[1]))
leave("result.json", {"files": files, "beside": beside, "cpus": ray.cluster_resources()["CPU"]})
"""
    found = run(program, "shipped")
    assert found["cpus"] == 1, "the job must have run on the second head"
    assert all("/runtime_resources/py_modules_files/" in file for file in found["files"]), found["files"]
    assert found["beside"] == ["pipelines", "tuning", "vae"]


TRAIN_ON_ALL_CPUS = """
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
def loop():
    import time
    time.sleep(600)
ray.init(logging_level="error")
workers = ScalingConfig(num_workers=int(ray.cluster_resources()["CPU"]))
print('BETALINE_EVENT {"kind": "training"}', flush=True)
TorchTrainer(loop, scaling_config=workers, run_config=RunConfig(name="x", storage_path=str(folder / "train"))).fit()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("second_head")
def test_stop_job_ends_ray_train_and_its_cleaner(run: Runner) -> None:
    """All CPUs of a Ray Train run are free within 15 s of a stop, and no actor stays, also beside another head."""
    total = total_cpus()
    thread, raised = in_thread(lambda: run(TRAIN_ON_ALL_CPUS, "trained"))
    wait_until(lambda: available_cpus() == 0, 120)
    begun = time.monotonic()
    assert stop_job("trained")
    wait_until(lambda: available_cpus() == total, 15)
    assert time.monotonic() - begun < 15
    thread.join(60)
    assert [type(error) for error in raised] == [ClusterError]
    # It asks by and by whether the run still lives, and on a loaded machine takes its time.
    wait_until(lambda: "PlacementGroupCleaner" not in _living_actors(), 120)


def _living_actors() -> list[str]:
    actors = clusters.current_cluster().get("/api/v0/actors", detail="1")["data"]["result"]["result"]
    return [actor["class_name"] for actor in actors if actor["state"] != "DEAD"]


class Proxy:
    """A way to a server that can be cut and opened again."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.ends: list[socket.socket] = []
        self.listener: socket.socket | None = None
        self.port = 0
        self.open()

    def open(self) -> None:
        """Let connections through, on the same port as before."""
        self.listener = socket.create_server((process.LOOPBACK, self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self.listener], daemon=True).start()

    def cut(self) -> None:
        """Break every connection and let none through."""
        assert self.listener is not None
        for end in [self.listener, *self.ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((process.LOOPBACK, self.target_port))
                self.ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=[source, sink], daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The only way that this test knows to the session's dashboard."""
    way = Proxy(int(services.ray_address.rpartition(":")[2]))
    address = f"http://127.0.0.1:{way.port}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(launch, "read", lambda folder: dataclasses.replace(services, ray_address=address))
    yield way
    way.cut()


@pytest.mark.slow
def test_run_job_takes_a_broken_connection_up_where_it_broke(
    run: Runner, services: Services, proxy: Proxy, recorder: Recorder
) -> None:
    """Lines that were printed while the dashboard was out of reach come once, in their order."""
    program = """
for number in range(500): print("line", number)
print('BETALINE_EVENT {"kind": "waiting"}', flush=True)
while not (folder / "go").exists(): time.sleep(0.05)
for number in range(500, 1000): print("line", number)
sys.stdout.flush()
(folder / "printed").touch()
while not (folder / "end").exists(): time.sleep(0.05)
leave("result.json", {"done": True})
"""
    folder = Path(services.home) / "runs" / "broken"
    results: list[dict[str, Any]] = []
    thread, raised = in_thread(lambda: results.append(run(program, "broken")))
    assert recorder.seen.wait(60)
    proxy.cut()
    (folder / "go").touch()
    wait_until((folder / "printed").exists, 30)
    proxy.open()
    (folder / "end").touch()
    thread.join(60)
    assert not raised
    assert results == [{"done": True}]
    assert [line for line in recorder.lines if line.startswith("line")] == [f"line {n}" for n in range(1000)]


def test_run_job_gives_a_lost_cluster_up(
    run: Runner, services: Services, proxy: Proxy, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that stays out of reach is an error that says what to do, and the job there runs on."""
    program = """
print('BETALINE_EVENT {"kind": "waiting"}', flush=True)
while not (folder / "end").exists(): time.sleep(0.05)
leave("result.json", {"done": True})
"""
    monkeypatch.setattr(clusters, "BACK_OFF_SECONDS", (0.1, 0.1))
    thread, raised = in_thread(lambda: run(program, "lost"))
    assert recorder.seen.wait(60)
    proxy.cut()
    thread.join(60)
    assert [type(error) for error in raised] == [ClusterLost]
    assert "The job may still run there; the same command attaches to it again" in str(raised[0])
    (Path(services.home) / "runs" / "lost" / "end").touch()
    monkeypatch.setenv("RAY_ADDRESS", services.ray_address)
    assert run(program, "lost") == {"done": True}
