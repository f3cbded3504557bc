"""`betaline report`: of runs that were stopped on their way, of those that finished, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipelines.cluster.launch import stop_job
from pipelines.cluster.runs import PINNED, RESULT, SPEC, RunFolder
from pipelines.data.ingest import IngestResult
from pipelines.flows.report import report
from pipelines.flows.train import train
from pipelines.flows.tune import tune
from pipelines.jobs import report as report_job
from pipelines.jobs.job import Job
from pipelines.models import tracking
from pipelines.services import Services
from pipelines.stages.report import ReportRequest
from pipelines.stages.train import TrainRequest
from tests.pipelines.conftest import run_flow
from tests.pipelines.flows.test_search import asked, trials_of
from tests.processes import meanwhile, wait_until
from tests.trainings import INTERVAL, STEPS_PER_EPOCH, long
from vae.config import RunConfig, override
from vae.errors import ClusterError, RegistryError
from vae.training.state import MANIFEST

EPOCHS = 8


def stopped(flow: Any, request: Any, home: Path, run: str, is_on_its_way: Callable[[Path], bool]) -> None:
    """Runs a flow whose job is stopped as soon as its folder shows that it is on its way."""

    def stop() -> bool:
        wait_until(lambda: is_on_its_way(home / "runs" / run), what="it is on its way")
        return stop_job(run)

    with meanwhile(stop) as stopping, pytest.raises(ClusterError, match="was stopped"):
        run_flow(flow, request, run=run)
    assert stopping.result(), "it ran"
    assert not (home / "runs" / run / RESULT).exists()


def has_scored_trial(search: Path) -> bool:
    """Whether the table has a trial's bound, and a checkpoint is there."""
    trials = trials_of(search)
    return any(trial.negative_bound for trial in trials) and any(search.rglob(MANIFEST))


def page_of(experiment: str, run: str, folder: Path) -> str:
    """The report that MLflow has of a run."""
    return tracking.read_file(tracking.run_of(experiment, run), tracking.REPORT, folder).decode()


@pytest.mark.slow
@pytest.mark.ci
def test_stopped_training_is_shown_as_far_as_it_came(
    services: Services, digits: IngestResult, tiny: RunConfig, home: Path, tmp_path: Path
) -> None:
    """By its newest checkpoint, on demand; taken up again, it replaces the page, which is then found and not drawn."""
    config = long(tiny, epochs=EPOCHS, num_workers=1)
    request = TrainRequest(dataset="digits", name="unfinished", config=config)
    in_second_epoch = (STEPS_PER_EPOCH // INTERVAL + 1) * INTERVAL
    checkpoint = f"step-{in_second_epoch:08d}/{MANIFEST}"
    stopped(train, request, home, "stopped-training", lambda run: any(run.rglob(checkpoint)))
    status = MlflowClient().get_run(tracking.run_of("unfinished", "stopped-training")).info.status
    found = run_flow(report, ReportRequest(run="stopped-training"))
    assert found.drawn
    page = page_of("unfinished", "stopped-training", tmp_path)
    assert "Unfinished training" in page
    done = re.search(rf"Not finished: (\d+) of {EPOCHS} epochs are done\.", page)
    assert done
    assert 1 <= int(done[1]) < EPOCHS
    assert "Scores and pictures are of the checkpoint at step " in page
    assert {"reconstructions", "traversals", "curves"} <= figures_of("unfinished", "stopped-training")
    assert MlflowClient().get_run(tracking.run_of("unfinished", "stopped-training")).info.status == status
    result = run_flow(train, request, run="stopped-training")
    assert result.resumed_from_step > STEPS_PER_EPOCH
    again = run_flow(report, ReportRequest(run="stopped-training"))
    assert not again.drawn
    assert again.report_url == result.report_url == found.report_url
    assert "Report of a training" in page_of("unfinished", "stopped-training", tmp_path)


def figures_of(experiment: str, run: str) -> set[str]:
    """The names of a report's figures."""
    files = MlflowClient().list_artifacts(tracking.run_of(experiment, run), tracking.REPORT_FOLDER)
    return {Path(file.path).stem for file in files if file.path.endswith(".png")}


@pytest.mark.slow
@pytest.mark.ci
def test_stopped_search_is_shown_as_far_as_it_came(
    services: Services, digits: IngestResult, tiny: RunConfig, home: Path, tmp_path: Path
) -> None:
    """With the trials that have begun, and the best one's model at its newest checkpoint."""
    request = asked(tiny).model_copy(update={"name": "unfinished"})
    base = override(request.search.base, {"training.epochs": 500})
    request = request.model_copy(update={"search": request.search.model_copy(update={"base": base})})
    stopped(tune, request, home, "stopped-search", has_scored_trial)
    found = run_flow(report, ReportRequest(run="stopped-search"))
    assert found.drawn
    page = page_of("unfinished", "stopped-search", tmp_path)
    assert "Unfinished search" in page
    assert re.search(r"Not finished: 0 of the \d trials that have started have ended\.", page)
    assert "the best so far by its validation bound, at its checkpoint of step " in page
    assert "reconstructions" in figures_of("unfinished", "stopped-search")


@pytest.mark.parametrize(
    ("request_", "pinned", "said"),
    [
        (None, None, "there is no run 'other'"),
        ({"source": "sklearn:digits", "name": "digits"}, None, "neither a training nor a search"),
        ({"run": "t", "name": "digits", "search": "s"}, {}, "neither a training nor a search"),
        ({"dataset": "digits", "name": "digits", "config": {}}, None, "run other has not begun"),
        ({"dataset": "digits", "name": "digits", "search": {}}, {"dataset": "d"}, "run other has not begun"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path: Path, request_: Any, pinned: Any, said: str) -> None:
    """A run that is not there, that is of another kind, or that has not begun."""
    other = RunFolder(str(tmp_path), "other")
    if request_ is not None:
        other.write(SPEC, {"home": str(tmp_path), "identity": "other", "request": request_})
    if pinned is not None:
        other.write(PINNED, pinned)
    spec = {"home": str(tmp_path), "identity": "report", "request": {"run": "other"}}
    with pytest.raises(RegistryError, match=said):
        report_job.run(Job(RunFolder(str(tmp_path), "report").write(SPEC, spec), ReportRequest))
