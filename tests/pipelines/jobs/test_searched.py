"""Which runs are searches, by what they were asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.runs import SPEC, RunFolder
from pipelines.jobs.job import Job
from pipelines.jobs.searched import best_so_far, is_search
from pipelines.stages.promote import PromoteRequest
from pipelines.stages.train import TrainRequest
from pipelines.stages.tune import TuneRequest
from vae.config import Section
from vae.errors import RegistryError


def leave(home: Path, run: str, request: Section) -> str:
    spec: dict[str, Any] = {"home": str(home), "identity": run, "request": request.model_dump(mode="json")}
    return RunFolder(str(home), run).write(SPEC, spec)


def test_search_is_told_from_other_runs(tmp_path: Path) -> None:
    """Also from a promotion, whose request names one."""
    spec = leave(tmp_path, "searched", TuneRequest(dataset="digits", name="digits"))
    leave(tmp_path, "trained", TrainRequest(dataset="digits", name="digits"))
    leave(tmp_path, "promoted", PromoteRequest(run="trained", name="digits", search="searched"))
    job = Job(spec, TuneRequest)
    assert [is_search(job, run) for run in ("searched", "trained", "promoted", "nothing")] == [
        True,
        False,
        False,
        False,
    ]


def test_search_without_a_trial_is_refused(tmp_path: Path) -> None:
    """In words, where it was interrupted before any had begun."""
    job = Job(leave(tmp_path, "searched", TuneRequest(dataset="digits", name="digits")), TuneRequest)
    with pytest.raises(RegistryError, match="search searched has no trial yet"):
        best_so_far(job, "searched")
