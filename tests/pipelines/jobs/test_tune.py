"""The search job without a cluster or a server: what it leaves where the search fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs import tune
from pipelines.jobs.job import Job
from pipelines.stages.tune import TuneRequest
from tests.pipelines.conftest import QUICK, job_of
from tuning.frontier import Trial
from tuning.space import Choice, SearchConfig
from tuning.stacks import checkpoints_of, lane_configs, plan_stacks
from vae.data.parquet import Dataset
from vae.errors import ClusterError
from vae.training.lanes import LaneTraining

SEARCH = SearchConfig(base=QUICK, space={"objective.beta": Choice(values=(0.5, 1.0))})


@pytest.fixture
def job(tmp_path: Path, noise: Dataset) -> Job:
    return job_of(tmp_path, TuneRequest(dataset=noise.uri, name="noise", search=SEARCH))


@pytest.mark.parametrize("keeps", [True, False], ids=["with a checkpoint", "without"])
def test_search_that_fails_shows_its_best_trial_so_far(
    keeps: bool, job: Job, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its pictures and its configuration, where it has left a checkpoint; with its trials in any case."""

    def fail(search: SearchConfig, dataset: str, folder: str, name: str, told: Any, division: int) -> list[Trial]:
        parts = plan_stacks(search, division)
        checkpoints = checkpoints_of(folder, {}) if keeps else None
        lanes = LaneTraining(lane_configs(search, parts, {}), Dataset.open(dataset), checkpoints=checkpoints)
        lanes.run()
        for number, (point, record) in enumerate(zip(parts.points_of({}), lanes.records, strict=True)):
            last = record.history[-1]
            figures = (last.validation_distortion, last.validation_rate, last.validation_negative_bound)
            told(Trial(f"t.{number}", point, "running", 2, *figures, last.active_units), last)
        raise ClusterError("the last node is gone")

    monkeypatch.setattr(tune, "division_of", lambda search: 1)
    monkeypatch.setattr(tune, "max_concurrent", lambda need: 1)
    monkeypatch.setattr(tune, "search", fail)
    with pytest.raises(ClusterError):
        tune.run(job)
    (page,) = pages
    shown = {*re.findall(r'id="(\w+)"', page)}
    assert "Failed search" in page
    assert "Failed: ClusterError: the last node is gone" in page
    assert "frontier" in shown
    assert ({"reconstructions", "samples", "traversals", "curves"} <= shown) is keeps
    if keeps:
        assert re.search(r"are of trial t\.\d, the best so far, at its checkpoint of step 4", page)
    else:
        assert "Reconstructions: the run has left no checkpoint." in page
