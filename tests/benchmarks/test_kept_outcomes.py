"""Outcomes of jobs that are kept for a later command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.work import Figures, Job, Outcome, _outcome


def refuse() -> Figures:
    """Fails, as a job that must not run."""
    raise AssertionError("the job ran")


def test_kept_job_is_not_run_again(tmp_path: Path) -> None:
    """A later command takes a job's outcome, seconds included, from the folder, and runs the jobs of other seeds."""
    kept = tmp_path / "kept"
    first = _outcome(Job("a/b", "half, 10 %", 0, lambda: {"score": 0.1}), kept)
    assert first == Outcome("a/b", "half, 10 %", 0, {"score": 0.1}, first.seconds)
    assert _outcome(Job("a/b", "half, 10 %", 0, refuse), kept) == first
    with pytest.raises(AssertionError, match="the job ran"):
        _outcome(Job("a/b", "half, 10 %", 1, refuse), kept)
