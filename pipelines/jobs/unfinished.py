"""The report of a training or a search that has left none: that still runs, was stopped, or was killed."""

from __future__ import annotations

from typing import Any

from pipelines.jobs import reports, train, tune
from pipelines.jobs.job import Job
from pipelines.jobs.searched import is_search
from pipelines.requests import ReportRequest
from pipelines.runs import PINNED, SPEC, RunFolder
from vae.config import parse
from vae.errors import RegistryError

TRAINING_PINS, SEARCH_PINS = {"dataset"}, {"dataset", "division"}
"""What each has pinned once it has begun."""


def run(job: Job) -> dict[str, Any]:
    """Draws it as of the newest checkpoint. The run itself is not touched, and replaces the page when it ends."""
    asked = parse(ReportRequest, job.request, "report").run
    folder = RunFolder(job.home, asked)
    spec, pinned = folder.read(SPEC), folder.read(PINNED) or {}
    if spec is None:
        raise RegistryError(f"there is no run {asked!r} in {job.home}/runs")
    is_training = "config" in spec["request"]
    if not is_training and not is_search(job, asked):
        raise RegistryError(f"{asked} is neither a training nor a search: give the name of one")
    if not (TRAINING_PINS if is_training else SEARCH_PINS) <= pinned.keys():
        raise RegistryError(f"run {asked} has not begun")
    subject = Job(f"{folder.uri}/{SPEC}")
    known = train.so_far(subject, pinned) if is_training else tune.so_far(subject, pinned)
    assert known.run_id is not None, "it has begun"
    return {"run": asked, "report": reports.draw(job, known.run_id, known)}
