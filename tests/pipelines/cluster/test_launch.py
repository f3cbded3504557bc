"""Jobs run once, report in their own words, and give their CPUs back when they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

import pipelines
from pipelines.cluster import launch
from pipelines.cluster import resources as clusters
from pipelines.cluster.demands import ClusterStatus, ask_cluster
from pipelines.cluster.launch import Submission, run_job, stop_job
from pipelines.cluster.resources import Resources
from pipelines.cluster.runs import RESULT, Event, RunFolder
from pipelines.operating.status import explain
from pipelines.services import Services, commands
from tests.cluster.nodes import Head, head
from tests.pipelines.cluster.conftest import Recorder, Runner
from tests.processes import available_cpus, total_cpus, wait_until
from tests.servers import ROOT
from vae.errors import ClusterError, ClusterLost, ConfigError, DataError

pytestmark = pytest.mark.servers("services")

WAITING = 'print(\'BETALINE_EVENT {"kind": "waiting"}\', flush=True)\n'
COUNT_RUNS = """
count = folder / "count"
count.write_text(count.read_text() + "x" if count.exists() else "x")
leave("result.json", {"runs": len(count.read_text())})
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
    assert {"plain line", 'BETALINE_EVENT {"kind": "epo'} <= set(recorder.lines)


def test_run_job_uses_this_interpreter_and_code_on_the_embedded_head(run: Runner) -> None:
    """On the embedded head a job runs in this environment, with the variables of its call but for credentials."""
    program = """
import os, pipelines
given = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_AUTH_STRING")}
leave("result.json", {"python": sys.executable, "file": pipelines.__file__, **given})
"""
    given = {"MLFLOW_TRACKING_URI": "http://m", "PREFECT_API_AUTH_STRING": "secret", "RAY_ADDRESS": "http://x"}
    assert run(program, "interpreter", environment=given) == {
        "python": sys.executable,
        "file": pipelines.__file__,
        "MLFLOW_TRACKING_URI": "http://m",
        "PREFECT_API_AUTH_STRING": None,
    }


def test_run_job_runs_nothing_twice(run: Runner) -> None:
    """The second call with the same identity returns the first one's result without running anything."""
    assert run(COUNT_RUNS, "once") == run(COUNT_RUNS, "once") == {"runs": 1}


def test_run_job_sees_a_result_that_came_while_it_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that ends between the look for its result and the look for its state is not followed by another."""

    def last_attempt(client: None, identity: str) -> tuple[int, JobDetails]:
        RunFolder(str(tmp_path), identity).write(RESULT, {"answer": 42})
        details: Any = {"type": JobType.SUBMISSION, "entrypoint": "", "status": JobStatus.SUCCEEDED}
        return 0, JobDetails(**details)

    monkeypatch.setenv("RAY_ADDRESS", "http://cluster.example")
    monkeypatch.setattr(launch, "_connect", lambda cluster: None)
    monkeypatch.setattr(launch, "_last_attempt", last_attempt)
    monkeypatch.setattr(launch, "_submit", lambda *given: pytest.fail("submitted again"))
    asked = Submission(kind="test", spec={}, identity="raced", home=str(tmp_path))
    result = run_job(asked, on_event=lambda event: None, on_log=lambda line: None)
    assert result == {"answer": 42}


def test_run_job_refuses_the_name_of_another_run_and_an_unfit_name(run: Runner) -> None:
    """A result is not given for another specification, and the message says how the two differ; a path is no name."""
    run('leave("result.json", {})', "named")
    with pytest.raises(ConfigError, match=r"runs/named holds a run of another specification; 1 of its values differ: "):
        run('leave("result.json", {"other": 1})', "named")
    with pytest.raises(ConfigError, match=r"a run's name is letters, digits.*, got '\.\./x'"):
        run("pass", "../x")


def test_run_job_attaches_to_a_running_job(run: Runner, begin: Any, services: Services) -> None:
    """A second caller follows the same job from its first line, and both get its result."""
    program = f'{WAITING}wait("go"){COUNT_RUNS}'
    outcomes = [begin(program, "attached"), begin(program, "attached", Recorder())]
    (Path(services.home) / "runs" / "attached" / "go").touch()
    assert [outcome.result(60) for outcome in outcomes] == [{"runs": 1}] * 2


def test_run_job_resumes_a_failed_run(run: Runner) -> None:
    """After a failure the same call makes the next attempt, which uses the files of the last one."""
    program = """
if not (folder / "half").exists():
    (folder / "half").touch()
    sys.exit("halfway")
leave("result.json", {"resumed": True})
"""
    with pytest.raises(ClusterLost, match=r"(?s)job again-0 failed\. It said last:.*halfway.*its whole log: http"):
        run(program, "again")
    assert run(program, "again") == {"resumed": True}


def test_run_job_raises_the_error_that_the_job_reported(run: Runner) -> None:
    """An error that the job wrote comes back in its class and words, a foreign one as ClusterError."""
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


def test_run_job_checks_resources_before_it_submits(run: Runner, services: Services) -> None:
    """A job that is too large leaves nothing behind."""
    with pytest.raises(ClusterError, match="asked for 1000 workers of 1 CPU"):
        run("pass", "large", needs=lambda: Resources(num_workers=1000))
    assert not (Path(services.home) / "runs" / "large").exists()


def all_cpus_come_back() -> None:
    """All CPUs are free within 15 s."""
    wait_until(lambda: available_cpus() == total_cpus(), 15)


def waits(status: ClusterStatus) -> bool:
    """Whether some job waits for resources."""
    return any(job.demands for job in status.jobs)


def test_stop_job_gives_every_cpu_back(begin: Any) -> None:
    """The resources that a job holds and waits for are known; all are free after a stop, and its caller is told."""
    outcome = begin(HOLD_ALL_CPUS, "stopped")
    wait_until(lambda: available_cpus() == 0, 15)
    wait_until(lambda: waits(ask_cluster(clusters.current_cluster())), 15)
    status = ask_cluster(clusters.current_cluster())
    job = next(one for one in status.jobs if one.submission_id == "stopped-0")
    assert (job.status, job.held) == ("RUNNING", {"CPU": total_cpus()})
    words = "asked for 4 × (1 GPU): the cluster has 0 GPU and never will be enough: add nodes, or ask for less"
    assert explain(job.demands[0], status) == words
    begun = time.monotonic()
    assert stop_job("stopped")
    all_cpus_come_back()
    assert time.monotonic() - begun < 15
    with pytest.raises(ClusterError, match="job stopped-0 was stopped; the same command takes it up again"):
        outcome.result(60)
    assert not stop_job("stopped")
    assert not stop_job("never-run")


CALLER = """
import sys
from pipelines.cluster.launch import Submission, run_job
identity, home, program, script = sys.argv[1:]
asked = Submission(kind="test", spec={"program": program}, identity=identity, home=home, entrypoint=[script])
run_job(asked, lambda event: print(event.kind, flush=True), lambda line: None)
"""


@pytest.fixture
def caller(run: Runner, services: Services, tmp_path: Path) -> Callable[[str, str], subprocess.Popen[str]]:
    """Calls `run_job` in a process of its own; returns the process when the job has printed an event."""

    def call(identity: str, program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CALLER, identity, services.home, program, str(tmp_path / "job.py")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **services.environment()},
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() in ("holding", "waiting")
        return process

    return call


def test_run_job_stops_the_job_when_interrupted(caller: Any) -> None:
    """Ctrl-C on the caller stops the job on the cluster before the caller ends."""
    process = caller("interrupted", HOLD_ALL_CPUS)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    all_cpus_come_back()
    assert not stop_job("interrupted")


def test_run_job_survives_a_killed_caller(run: Runner, caller: Any, services: Services) -> None:
    """A caller that is killed leaves the job running, and the next one attaches to it."""
    program = f'{WAITING}wait("go"); leave("result.json", {{"attempt": "first"}})'
    process = caller("orphaned", program)
    process.kill()
    process.communicate(timeout=60)
    (Path(services.home) / "runs" / "orphaned" / "go").touch()
    assert run(program, "orphaned") == {"attempt": "first"}


def test_run_job_stops_the_job_when_a_callback_fails(run: Runner) -> None:
    """A callback's error reaches the caller, and the job does not run on unwatched."""

    class Failing(Recorder):
        def on_event(self, event: Event) -> None:
            raise KeyError(event.kind)

    with pytest.raises(KeyError, match="holding"):
        run(HOLD_ALL_CPUS, "callback", Failing())
    assert not stop_job("callback")


@pytest.fixture(scope="module")
def second_head(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """Another cluster on this machine, of 1 CPU."""
    home = tmp_path_factory.mktemp("second")
    commands.make_secrets(home)
    with head(home, commands.choose_ports(home), num_cpus=1) as second:
        yield second


def test_upload_holds_sources_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data left inside the packages stays here: with it the upload may be larger than Ray takes."""
    from ray._private.runtime_env.packaging import _get_excludes

    monkeypatch.setattr(launch, "SOURCE_ROOT", tmp_path)
    kept = {"__init__.py", "parts/conv.py", "report/style.css", "report/card.md.j2"}
    left = {"parts/weights.safetensors", "core", "a table.csv", "notes[1].tar.gz", "parts/__pycache__/conv.cpython.pyc"}
    for name in kept | left:
        file = tmp_path / "vae" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    _, environment = launch._runtime_environment("s3://bucket/home", clusters.Cluster(address="", headers={}), {})
    is_left = _get_excludes(tmp_path / "vae", environment["excludes"])
    assert {name for name in kept | left if is_left(tmp_path / "vae" / name)} == left


@pytest.mark.slow
@pytest.mark.ci
def test_run_job_ships_its_code_to_a_cluster_elsewhere(
    run: Runner, second_head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster known by address and token alone, driver and workers import what was uploaded: our packages alone."""
    for name, value in second_head.environment.items():
        monkeypatch.setenv(name, value)
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
    result = run(program, "shipped")
    assert result["cpus"] == 1, "the job must have run on the second head"
    assert all("/runtime_resources/py_modules_files/" in file for file in result["files"]), result["files"]
    assert result["beside"] == ["pipelines", "tuning", "vae"]


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
def test_stop_job_ends_ray_train_and_its_cleaner(begin: Any) -> None:
    """All CPUs of a Ray Train run are free within 15 s of a stop, and no actor stays, also beside another head."""
    outcome = begin(TRAIN_ON_ALL_CPUS, "trained")
    wait_until(lambda: available_cpus() == 0, 120)
    begun = time.monotonic()
    assert stop_job("trained")
    all_cpus_come_back()
    assert time.monotonic() - begun < 15
    with pytest.raises(ClusterError):
        outcome.result(60)
    # The cleaner polls whether the run still lives, and on a loaded machine takes its time.
    wait_until(lambda: "PlacementGroupCleaner" not in _living_actors(), 120)


def _living_actors() -> list[str]:
    return [one["class_name"] for one in clusters.current_cluster().state("actors") if one["state"] != "DEAD"]
