"""The trials of a search: in its folder while it runs, and as child runs in MLflow."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from pipelines.cluster.runs import TRIALS, RunFolder, emit
from pipelines.cluster.search_progress import SearchProgress
from pipelines.models import tracking
from tuning.frontier import Trial
from vae.training.hooks import EpochReport

KEEP_SECONDS = 2.0
"""Minimum seconds between two writes of a running search's table; a trial that ends is written at once."""


def trials_so_far(folder: RunFolder) -> dict[str, Trial]:
    """Returns the trials of a search that may still run, by their ids."""
    kept = folder.read(TRIALS) or {"trials": []}
    return {trial["trial_id"]: Trial(**trial) for trial in kept["trials"]}


class TrialLog:
    """Log of every trial, written in order by one thread so that the search never waits for MLflow."""

    def __init__(self, experiment: str, folder: RunFolder, identity: str, parent: str, search: SearchProgress) -> None:
        self.experiment = experiment
        self.folder = folder
        self.identity = identity
        self.parent = parent
        self.search = search
        self.trials = trials_so_far(folder)
        self.kept_at = -math.inf
        self.runs: dict[str, str] = {}
        self.epochs: dict[str, dict[int, dict[str, Any]]] = {}
        self.closed: set[str] = set()
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="betaline-trials")
        for trial in self.trials.values():  # of an earlier attempt
            self._announce(trial)
        self.search.report()

    def __call__(self, trial: Trial, epoch: EpochReport | None) -> None:
        """Takes in a trial that began or ended (no epoch), or finished an epoch."""
        self._announce(trial)
        self.search.report()
        self._keep(trial, now=epoch is None and trial.status != "running")
        if epoch is not None:
            # By its number: a trial that resumed reports all its epochs again.
            self.epochs.setdefault(trial.trial_id, {})[epoch.epoch] = asdict(epoch)
        else:
            self._submit(self._open if trial.status == "running" else self._close, trial)

    def close_all(self, trials: Sequence[Trial]) -> None:
        """Closes the runs of all trials that are still open.

        These ended before this process saw it, in a search that was killed and resumed; or MLflow was away.
        """
        for trial in trials:
            self._submit(self._close, trial)

    def finish(self) -> None:
        """Waits until everything is written."""
        self.writer.shutdown(wait=True)

    def _announce(self, trial: Trial) -> None:
        emit("trial", {**asdict(trial), "planned_epochs": self.search.epochs})
        self.search.take(trial)

    def _submit(self, write: Callable[..., Any], *arguments: Any) -> None:
        self.writer.submit(write, *arguments).add_done_callback(_complain)

    def _keep(self, trial: Trial, now: bool) -> None:
        """Writes the table to the run's folder, for readers before the search has ended."""
        self.trials[trial.trial_id] = trial
        if now or time.monotonic() - self.kept_at >= KEEP_SECONDS:
            self.kept_at = time.monotonic()
            self._submit(self.folder.write, TRIALS, {"trials": [asdict(one) for one in self.trials.values()]})

    def _open(self, trial: Trial) -> str:
        if trial.trial_id not in self.runs:
            self.runs[trial.trial_id] = tracking.open_run(
                self.experiment,
                f"{self.identity}.{trial.trial_id}",
                params=trial.parameters,
                tags={"betaline.kind": "trial"},
                parent=self.parent,
            )
        return self.runs[trial.trial_id]

    def _close(self, trial: Trial) -> None:
        if trial.trial_id in self.closed:
            return  # a lane that failed before its stack ended is reported again with the stack
        run_id = self._open(trial)
        tracking.log_epochs(run_id, list(self.epochs.get(trial.trial_id, {}).values()))
        figures = {"distortion": trial.distortion, "rate": trial.rate, "negative_bound": trial.negative_bound}
        tracking.log_metrics(run_id, {name: value for name, value in figures.items() if value is not None})
        status = "FAILED" if trial.status == "failed" else "FINISHED"
        tracking.close_run(run_id, status, {"betaline.status": trial.status})
        self.closed.add(trial.trial_id)
        self.epochs.pop(trial.trial_id, None)


def _complain(done: Future[Any]) -> None:
    if error := done.exception():
        print(f"a trial could not be logged: {error}", file=sys.stderr, flush=True)
