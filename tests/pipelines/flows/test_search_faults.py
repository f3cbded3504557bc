"""Searches that lose their driver, a node or their user; and trials that are Ray Train runs of their own. All slow."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipelines.cluster.runs import Event
from pipelines.data.ingest import IngestResult
from pipelines.flows.tune import tune
from pipelines.models import registry
from pipelines.services import Services
from pipelines.services.process import tree
from pipelines.stages.tune import TuneRequest, TuneResult
from pipelines.stages.yaml_files import write_yaml
from tests.cluster.nodes import head_of, joined
from tests.pipelines.conftest import run_flow
from tests.pipelines.flows.test_search import TRIAL, by_setting, trials_of
from tests.processes import betaline, command_of, kill_driver, meanwhile, ray_processes, wait_for, wait_until
from tuning.stacks import checkpoints_of
from vae.config import RunConfig, override, parse
from vae.training.state import MANIFEST

pytestmark = [pytest.mark.servers("services"), pytest.mark.slow]
BODIES = [{"kind": "mlp", "hidden": [width]} for width in (16, 24, 32)]
LIMIT_SECONDS = 120


def asked(tiny: RunConfig, epochs: int, **changes: Any) -> TuneRequest:
    """Three bodies, and two weights of the rate for each."""
    space = {
        "model.encoder": {"kind": "choice", "values": BODIES},
        "objective.beta": {"kind": "choice", "values": [0.5, 2.0]},
    }
    base = override(tiny, {"training.epochs": epochs, "training.checkpoint_seconds": 0}).model_dump()
    search = {"base": base, "space": space, "grace_epochs": epochs, **changes}
    return parse(TuneRequest, {"dataset": "digits", "name": "survived", "search": search}, "tune")


@pytest.fixture(scope="module")
def undisturbed(services: Services, digits: IngestResult, tiny: RunConfig) -> dict[str, Any]:
    """What the search comes to where nothing happens."""
    return run_flow(tune, asked(tiny, 30), run="survived-undisturbed")


def test_search_whose_driver_is_killed_goes_on(
    services: Services, home: Path, undisturbed: TuneResult, tiny: RunConfig
) -> None:
    """SIGKILL of the driver after a trial has ended: that one is not trained again, and the table is the same."""
    folder = home / "runs" / "survived-driver"

    def kill_the_driver() -> dict[Path, int]:
        body = wait_for(lambda: finished_body(folder), what="a trial has ended")
        written = when_written(Path(checkpoints_of(f"{folder}/tune", {"model.encoder": body})))
        assert kill_driver(services, "tune")
        return written

    with meanwhile(kill_the_driver) as killed:
        again = run_flow(tune, asked(tiny, 30), run="survived-driver")
    written = killed.result()
    assert written
    assert {file: file.stat().st_mtime_ns for file in written} == written, "what had ended was not trained again"
    assert by_setting(again) == by_setting(undisturbed)
    client = MlflowClient()
    parent = client.get_run(again.mlflow_run_id).info
    children = client.search_runs([parent.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    assert len(children) == 6
    assert {child.info.status for child in children} == {"FINISHED"}


def finished_body(search: Path) -> dict[str, Any] | None:
    """The body of a trial that has ended, while not all have."""
    trials = trials_of(search)
    ended = [trial.parameters["model.encoder"] for trial in trials if trial.status == "finished"]
    return ended[0] if len(ended) < len(trials) and ended else None


def when_written(folder: Path) -> dict[Path, int]:
    """The files of a folder, with the time of their last change in nanoseconds."""
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_search_that_loses_a_node_goes_on(
    services: Services, home: Path, undisturbed: TuneResult, tiny: RunConfig, tmp_path: Path
) -> None:
    """SIGKILL of all processes of one of two nodes: its trials go on where there is room, and the table is the same."""
    folder = home / "runs" / "survived-node" / "tune"
    with joined(head_of(services), tmp_path, num_cpus=2) as node:

        def kill_the_node() -> None:
            wait_until(lambda: any(folder.rglob(MANIFEST)), what="a trial has a checkpoint")
            wait_until(lambda: any(TRIAL in command_of(p) for p in tree(node)), what="a trial is on the node")
            for process in tree(node):
                process.kill()

        with meanwhile(kill_the_node) as killed:
            again = run_flow(tune, asked(tiny, 30), run="survived-node")
    killed.result()
    assert by_setting(again) == by_setting(undisturbed)


def test_interrupted_search_leaves_its_best_as_challenger(
    services: Services, digits: IngestResult, tiny: RunConfig, home: Path, tmp_path: Path
) -> None:
    """Ctrl-C in `betaline tune --register challenger`; the same run goes on afterwards as if nothing had been."""
    request = asked(tiny, 2000)
    (tmp_path / "search.yaml").write_text(write_yaml(request.search.model_dump(mode="json")))
    command = [sys.executable, "-m", "pipelines.cli", "tune", "digits", "--name", "interrupted", "--home", str(home)]
    command += ["--config", str(tmp_path / "search.yaml"), "--run", "interrupted", "--register", "challenger"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    search = home / "runs" / "interrupted"
    wait_until(lambda: max((t.epochs for t in trials_of(search)), default=0) >= 5, what="some epochs are done")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 130, said
    assert "is now challenger" in said
    assert "--run interrupted" in said
    assert "betaline report interrupted" in said
    drawn = betaline("report", "interrupted", home=home)
    assert "Report and plots: http" in drawn.stdout, drawn.stderr
    challenger = registry.find("interrupted", "challenger")
    assert challenger is not None
    run = MlflowClient().get_run(challenger.run_id)
    assert run.data.tags["betaline.kind"] == "trial"
    assert not (home / "runs" / "interrupted" / "result.json").exists(), "it is not taken for one that ended"


def test_trial_that_needs_several_workers_is_a_train_run(
    services: Services, digits: IngestResult, tiny: RunConfig
) -> None:
    """Two workers a trial, one trial at a time; one that is stopped early gives its place to the next."""
    space = {"training.learning_rate": {"kind": "choice", "values": [1e-3, 1e-7, 1.1e-3]}}
    request = asked(tiny, 8, space=space, grace_epochs=1, reduction_factor=2)
    base = override(request.search.base, {"scaling.num_workers": 2, "training.batch_size": 4})
    request = request.model_copy(update={"search": request.search.model_copy(update={"base": base})})
    workers: list[int] = []

    def look(kind: str, event: Event) -> None:
        if event.kind == "trial" and event.fields["epochs"]:
            workers.append(len(ray_processes(services, "RayTrainWorker")))

    found = run_flow(tune, request, run="survived-workers", listener=look)
    by_rate = {trial.parameters["training.learning_rate"]: trial for trial in found.trials}
    assert {rate: trial.status for rate, trial in by_rate.items()} == {
        1e-3: "finished",
        1e-7: "stopped",
        1.1e-3: "finished",
    }
    assert by_rate[1e-3]["epochs"] == 8
    assert by_rate[1e-7]["epochs"] < 8
    assert max(workers, default=0) == 2
    assert found.best.parameters["training.learning_rate"] != 1e-7


def test_trial_that_can_never_be_placed_says_why(services: Services, digits: IngestResult, tiny: RunConfig) -> None:
    """Before a trial is started: what was asked for, and what the cluster has."""
    request = asked(tiny, 1)
    base = override(request.search.base, {"scaling.num_workers": 64, "training.batch_size": 64})
    request = request.model_copy(update={"search": request.search.model_copy(update={"base": base})})
    with pytest.raises(Exception, match="asked for 64 workers of 1 CPU per trial, the cluster has") as refused:
        run_flow(tune, request, run="survived-nowhere")
    assert "lower base.scaling.num_workers" in str(refused.value)
