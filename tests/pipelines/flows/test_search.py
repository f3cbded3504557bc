"""Searches, for real: stacks of lanes as trials on a Ray cluster, child runs in MLflow, and a trial that is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from pipelines.cluster.runs import Event, RunFolder
from pipelines.data.ingest import IngestResult
from pipelines.flows.tune import tune
from pipelines.jobs.trial_log import trials_so_far
from pipelines.services import Services
from pipelines.stages.tune import TuneRequest, TuneResult
from pipelines.stages.yaml_files import read_mapping
from tests.pipelines.conftest import run_flow
from tests.processes import meanwhile, ray_processes, wait_for
from tuning.frontier import Trial
from vae.config import RunConfig, override, parse
from vae.data.parquet import Dataset
from vae.training.loop import Training
from vae.training.state import MANIFEST

pytestmark = [pytest.mark.servers("services"), pytest.mark.slow, pytest.mark.ci]

EPOCHS = 20
BODIES = [{"kind": "mlp", "hidden": [16]}, {"kind": "mlp", "hidden": [24]}]
TRIAL = "ImplicitFunc"
"""What Ray calls a trial's process."""
FIGURES = ("distortion", "rate", "negative_bound", "active_units", "epochs", "status", "scores", "error")


def asked(tiny: RunConfig) -> TuneRequest:
    """Two bodies, and for each four lanes: two weights and two seeds."""
    space = {
        "model.encoder": {"kind": "choice", "values": BODIES},
        "objective.beta": {"kind": "choice", "values": [0.5, 2.0]},
        "training.seed": {"kind": "choice", "values": [0, 1]},
    }
    changes = {"training.epochs": EPOCHS, "training.batch_size": 16, "training.checkpoint_seconds": 0}
    base = override(tiny, changes).model_dump()
    search = {"base": base, "space": space, "grace_epochs": EPOCHS, "select": "nll"}
    return parse(TuneRequest, {"dataset": "digits", "name": "searched", "search": search}, "tune")


def by_setting(result: TuneResult) -> dict[str, dict[str, Any]]:
    """What each trial came to, whatever Ray Tune called it."""
    return {
        str(sorted(trial.parameters.items())): {name: getattr(trial, name) for name in FIGURES}
        for trial in result.trials
    }


def trials_of(search: Path) -> list[Trial]:
    """The table of a search that may still run, as its folder has it."""
    return list(trials_so_far(RunFolder(str(search.parents[1]), search.name)).values())


@pytest.fixture(scope="module")
def told() -> list[Event]:
    """What the undisturbed search tells while it runs."""
    return []


@pytest.fixture(scope="module")
def found(services: Services, digits: IngestResult, tiny: RunConfig, told: list[Event]) -> dict[str, Any]:
    """What an undisturbed search came to."""
    return run_flow(tune, asked(tiny), run="searched-undisturbed", listener=lambda kind, event: told.append(event))


def test_every_lane_is_a_trial_with_its_curve(found: TuneResult) -> None:
    """Eight trials of two stacks, each a child run with a point per epoch and none twice."""
    assert len(by_setting(found)) == len(found.trials) == 8
    assert all(trial.status == "finished" and trial.epochs == EPOCHS for trial in found.trials)
    assert len({trial.trial_id.partition(".")[0] for trial in found.trials}) == 2
    client = MlflowClient()
    parent = client.get_run(found.mlflow_run_id).info
    left = {file.path for file in client.list_artifacts(parent.run_id)}
    assert {"search.md", "search.yaml", "best.yaml"} <= left
    reported = {file.path for file in client.list_artifacts(parent.run_id, "report")}
    figures = ("frontier", "parallel", "importance", "reconstructions", "traversals")
    assert {"report/report.html", *(f"report/{figure}.png" for figure in figures)} <= reported
    assert found.report == f"runs:/{parent.run_id}/report/report.html"
    assert found.report_url is not None
    assert found.report_url.endswith(f"/runs/{parent.run_id}/artifacts/report/report.html")
    children = client.search_runs([parent.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    assert len(children) == 8
    for child in children:
        curve = client.get_metric_history(child.info.run_id, "validation_negative_bound")
        assert [metric.step for metric in curve] == list(range(1, EPOCHS + 1))
        assert child.info.status == "FINISHED"


def test_search_is_followed_in_prefect(found: TuneResult, told: list[Event]) -> None:
    """A progress artifact of this search ends at 100; trials are told, whose speed is known at the end."""
    key = ArtifactFilter(key=ArtifactFilterKey(any_=["tune-progress"]))
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(artifact_filter=key)
    assert [a.data for a in artifacts if found.run in str(a.description)] == [100.0]
    trials = {event.fields["trial_id"] for event in told if event.kind == "trial"}
    assert trials == {trial.trial_id for trial in found.trials}
    assert all(trial.steps > 0 and (trial.steps_per_second or 0) > 0 for trial in found.trials)


def test_chosen_configuration_trained_again_comes_to_the_same(found: TuneResult, home: Path) -> None:
    """`best.yaml` is a run's configuration: by itself it gives the epochs that the lane had in its stack."""
    best = found.best
    config = parse(RunConfig, read_mapping(home / "runs" / found.run / "best.yaml"))
    assert config.training.data_seed == 0
    again = Training(config, Dataset.open(found.dataset)).run()
    assert again.history[-1].validation_negative_bound == pytest.approx(best.negative_bound, rel=1e-4)
    nlls = {trial.trial_id: trial.scores["nll"] for trial in found.trials}
    means = [sum(nlls[t.trial_id] for t in found.trials if _setting(t) == _setting(one)) / 2 for one in found.trials]
    assert sum(nlls[t.trial_id] for t in found.trials if _setting(t) == _setting(best)) / 2 == min(means)


def _setting(trial: Trial) -> list[tuple[str, Any]]:
    return sorted((name, value) for name, value in trial.parameters.items() if name != "training.seed")


def test_search_whose_trial_is_killed_comes_to_the_same(
    services: Services, found: TuneResult, tiny: RunConfig, home: Path
) -> None:
    """SIGKILL of a trial's process in mid-run: it goes on from its checkpoint, and the table is the undisturbed one's."""
    folder = home / "runs" / "searched-killed" / "tune"

    def kill_a_trial() -> list[Path]:
        checkpoints = wait_for(lambda: list(folder.rglob(MANIFEST)), what="a trial has a checkpoint")
        trial, *_ = ray_processes(services, TRIAL)
        trial.kill()
        return checkpoints

    with meanwhile(kill_a_trial) as killed:
        again = run_flow(tune, asked(tiny), run="searched-killed")
    steps = {int(checkpoint.parent.name.removeprefix("step-")) for checkpoint in killed.result()}
    assert max(steps) < again.trials[0].steps, "it was killed in mid-run"
    assert by_setting(again) == by_setting(found)
