"""Trials in MLflow: what could not be told while it was away is told in the end."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from pipelines.cluster.runs import RunFolder
from pipelines.jobs.trial_log import TrialLog
from pipelines.models import tracking
from tuning.frontier import Trial
from vae.training.reports import EpochReport


class Away:
    """MLflow, which is away for its first call."""

    def __init__(self) -> None:
        self.is_away = True
        self.epochs: list[int] = []
        self.closed: list[str] = []

    def open_run(self, experiment: str, identity: str, **further: Any) -> str:
        """The identity as the id."""
        if self.is_away:
            self.is_away = False
            raise MlflowException("connection refused")
        return identity

    def log_epochs(self, run_id: str, epochs: list[dict[str, Any]]) -> None:
        """Keeps their numbers."""
        self.epochs += [epoch["epoch"] for epoch in epochs]

    def log_metrics(self, run_id: str, metrics: dict[str, float]) -> None:
        """Keeps nothing."""

    def close_run(self, run_id: str, status: str, tags: dict[str, str]) -> None:
        """Keeps which."""
        self.closed.append(run_id)


def test_trial_that_ended_while_mlflow_was_away_keeps_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Closing it fails and is told of; at the end of the search its epochs are logged, once."""
    away = Away()
    for name in ("open_run", "log_epochs", "log_metrics", "close_run"):
        monkeypatch.setattr(tracking, name, getattr(away, name))
    log = TrialLog("experiment", RunFolder(str(tmp_path), "search"), "search", "parent")
    trial = Trial("a", {}, "finished", 2, negative_bound=1.0)
    for number in (1, 2):
        log(trial, EpochReport(**{field.name: 0 for field in fields(EpochReport)} | {"epoch": number}))
    log(trial, None)
    log.close_all([trial])
    log.finish()
    assert "a trial could not be logged: connection refused" in capfd.readouterr().err
    assert away.epochs == [1, 2]
    assert away.closed == ["search.a"]
