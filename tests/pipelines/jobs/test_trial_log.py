"""Trials in MLflow: what could not be told while it was away is told in the end."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from pipelines.cluster.runs import RunFolder
from pipelines.cluster.search_progress import SearchProgress
from pipelines.jobs.trial_log import TrialLog
from pipelines.models import tracking
from tuning.frontier import Trial
from vae.training.hooks import EpochReport


def test_trial_that_ended_while_mlflow_was_away_keeps_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Closing its run fails with a message in the log; at the end of the search its epochs are logged, once."""
    epochs, closed = [], []
    answers: list[Any] = [MlflowException("connection refused")]

    def open_run(experiment: str, identity: str, **further: Any) -> str:
        if answers:
            raise answers.pop()
        return identity

    monkeypatch.setattr(tracking, "open_run", open_run)
    monkeypatch.setattr(tracking, "log_epochs", lambda run_id, more: epochs.extend(one["epoch"] for one in more))
    monkeypatch.setattr(tracking, "log_metrics", lambda run_id, metrics: None)
    monkeypatch.setattr(tracking, "close_run", lambda run_id, status, tags: closed.append(run_id))
    log = TrialLog("experiment", RunFolder(str(tmp_path), "search"), "search", "parent", SearchProgress(1, 2))
    trial = Trial("a", {}, "finished", 2, negative_bound=1.0)
    for number in (1, 2):
        log(trial, EpochReport(**{field.name: 0 for field in fields(EpochReport)} | {"epoch": number}))
    log(trial, None)
    log.close_all([trial])
    log.finish()
    assert "a trial could not be logged: connection refused" in capfd.readouterr().err
    assert epochs == [1, 2]
    assert closed == ["search.a"]
