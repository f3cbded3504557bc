"""The report of a training or a search that has left none: that still runs, was stopped, or was killed."""

from __future__ import annotations

from typing import Any

from pipelines.cluster.runs import SPEC, RunFolder
from pipelines.flows.requests import ReportRequest
from pipelines.jobs import reports, train, tune
from pipelines.jobs.job import Job
from pipelines.jobs.searched import is_search
from vae.config import parse
from vae.errors import RegistryError


def run(job: Job) -> dict[str, Any]:
    """Draws it as of the newest checkpoint. The run itself is not touched, and replaces the page when it ends."""
    asked = parse(ReportRequest, job.request, "report").run
    folder = RunFolder(job.home, asked)
    if folder.read(SPEC) is None:
        raise RegistryError(f"there is no run {asked!r} in {job.home}/runs")
    subject = Job(f"{folder.uri}/{SPEC}")
    if "config" in subject.request:
        known = train.so_far(subject)
    elif is_search(job, asked):
        known = tune.so_far(subject)
    else:
        raise RegistryError(f"{asked} is neither a training nor a search: give the name of one")
    assert known.run_id is not None, "it has begun"
    return {"run": asked, "report": reports.draw(job, known.run_id, known)}
