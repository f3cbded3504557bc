"""The report that a run leaves as it ends, without a server: what MLflow is given is kept in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.runs import REPORT, SPEC, RunFolder
from pipelines.jobs import run_report
from pipelines.jobs.job import Job
from pipelines.models import tracking
from pipelines.report import Evidence, gathering
from pipelines.stages.train import TrainRequest
from tests.pipelines.conftest import QUICK
from vae.data.batches import InOrder, Share
from vae.data.parquet import Dataset
from vae.errors import Diverged
from vae.metrics.likelihood import bound_sums
from vae.training.loop import Training

Read = Callable[[], str]


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """What MLflow was given as the report of run `a`."""

    def keep(run_id: str, files: Iterable[Path], folder: str | None = None) -> None:
        target = tmp_path / run_id / (folder or "")
        target.mkdir(parents=True)
        for file in files:
            shutil.copy(file, target)

    monkeypatch.setattr(tracking, "log_files", keep)
    monkeypatch.setattr(tracking, "experiment_of", lambda run_id: "experiment-1")
    return lambda: (tmp_path / "a" / tracking.REPORT).read_text()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    spec = {"home": str(tmp_path), "identity": "one", "request": {}}
    return Job(RunFolder(str(tmp_path), "one").write(SPEC, spec), TrainRequest)


def known(noise: Dataset, **further: Any) -> Evidence:
    return Evidence(config=QUICK, dataset=noise.manifest, name="noise", stage="training", split="validation", **further)


def test_training_is_looked_at_on_validation_data(job: Job, noise: Dataset, logged: Read) -> None:
    """The bound is that of the validation split, and the page has the model's pictures and says which split it is."""
    model = Training(QUICK, noise).run().model
    seen = gathering.seen(known(noise), model, noise)
    share = Share.of(noise, "validation", binarization="dynamic")
    assert seen.bound == bound_sums(model, InOrder(share), seed=0).bound()
    assert seen.rows is not None
    assert seen.rows.values.tolist() == Share.of(noise, "validation").load(0, 30).values.tolist()
    assert run_report.leave(job, "a", lambda: seen) == "runs:/a/report/report.html"
    where = {"experiment_id": "experiment-1", "run_id": "a", "path": "report/report.html"}
    assert job.folder.read(REPORT) == where, "for the flow, which links it"
    page = logged()
    assert "Report of a training" in page
    assert "nats per example on 30 validation examples" in page
    assert 'id="traversals"' in page


@pytest.mark.parametrize(
    ("error", "shown", "has_traceback"),
    [
        (Diverged("the loss became nan in epoch 4"), "Failed: Diverged: the loss became nan in epoch 4", False),
        (ZeroDivisionError("division by zero"), "Failed: ZeroDivisionError: division by zero", True),
    ],
)
def test_failed_run_leaves_its_error_and_fails_all_the_same(
    error: Exception, shown: str, has_traceback: bool, job: Job, noise: Dataset, logged: Read
) -> None:
    """The error is raised as it was; the page shows a refusal in words, and a mistake of ours with its traceback."""
    with (
        pytest.raises(type(error)) as raised,
        run_report.left_on_failure(job, "a", lambda message: known(noise, failure=message)),
    ):
        raise error
    assert raised.value is error
    page = logged()
    assert "Failed training" in page
    assert shown in page
    assert ("Traceback" in page) is has_traceback


def test_report_that_cannot_be_made_does_not_fail_the_run(
    job: Job, noise: Dataset, logged: Read, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither a run that ended nor the error of one that failed is hidden; the log says why there is no report."""
    assert run_report.leave(job, "a", lambda: replace(known(noise), split="nowhere", nll=3)) is None  # pyright: ignore
    assert "the report of this run could not be drawn" in capfd.readouterr().err
    with (
        pytest.raises(Diverged, match="first"),
        run_report.left_on_failure(job, "a", lambda said: known(noise, failure=said, nothing="such")),
    ):
        raise Diverged("first")
    assert "unexpected keyword argument 'nothing'" in capfd.readouterr().err
