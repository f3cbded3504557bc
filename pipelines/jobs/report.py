"""Report: draws the report of a training or a search that has none because it still runs, was stopped, or was killed."""

from __future__ import annotations

from pipelines.cluster.runs import SPEC, RunFolder
from pipelines.jobs import run_report, train, tune
from pipelines.jobs.job import Job
from pipelines.jobs.searched import is_search
from pipelines.stages.report import ReportRequest, ReportResult
from pipelines.stages.train import TrainRequest
from pipelines.stages.tune import TuneRequest
from vae.errors import RegistryError

Request = ReportRequest


def run(job: Job[ReportRequest]) -> ReportResult:
    """Draws the report as of the newest checkpoint. The run itself is not touched, and replaces the report when it ends."""
    asked = job.request.run
    folder = RunFolder(job.home, asked)
    if (spec := folder.read(SPEC)) is None:
        raise RegistryError(f"there is no run {asked!r} in {job.home}/runs")
    uri = f"{folder.uri}/{SPEC}"
    if "config" in spec["request"]:
        known = train.so_far(Job(uri, TrainRequest))
    elif is_search(job, asked):
        known = tune.so_far(Job(uri, TuneRequest))
    else:
        raise RegistryError(f"{asked} is neither a training nor a search: give the name of one")
    assert known.run_id is not None, "it has begun"
    return ReportResult(run=asked, report=run_report.draw(job, known.run_id, known))
