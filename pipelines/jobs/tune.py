"""Tune: a search with Ray Tune, with every trial as a child run in MLflow."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray

from pipelines.cli.yaml_files import write_yaml
from pipelines.cluster.runs import TRIALS, RunFolder, emit
from pipelines.flows.progress import SearchPlan
from pipelines.flows.requests import TuneRequest
from pipelines.jobs import choosing, reports
from pipelines.jobs.job import Job
from pipelines.models import tracking
from pipelines.report import Evidence, projections, search_table
from pipelines.report.costs import Stage
from tuning.frontier import Trial, pareto, select
from tuning.models import Best, best_of, model_of
from tuning.search import division_of, max_concurrent, num_trials, resources_of, search
from tuning.space import SearchConfig, check_space
from tuning.stacks import config_of, split
from vae.config import RunConfig, parse
from vae.data.catalog import resolve
from vae.data.parquet import Dataset
from vae.errors import CheckpointError
from vae.storage import write_whole
from vae.training.reports import EpochReport
from vae.training.verdict import words

KEEP_SECONDS = 2.0
"""At most so often is the table of a search that runs written to its folder, but for trials that end."""


def trials_so_far(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """The trials of a search that may still run, by their ids."""
    kept = folder.read(TRIALS) or {"trials": []}
    return {trial["trial_id"]: trial for trial in kept["trials"]}


class TrialLog:
    """Every trial as a child run in MLflow, written in order by one thread so that the search never waits for it."""

    def __init__(self, experiment: str, folder: RunFolder, identity: str, parent: str) -> None:
        self.experiment = experiment
        self.folder = folder
        self.identity = identity
        self.parent = parent
        self.trials: dict[str, dict[str, Any]] = trials_so_far(folder)
        self.kept_at = -math.inf
        self.runs: dict[str, str] = {}
        self.epochs: dict[str, dict[int, dict[str, Any]]] = {}
        self.closed: set[str] = set()
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="betaline-trials")

    def __call__(self, trial: Trial, epoch: EpochReport | None) -> None:
        emit("trial", asdict(trial))
        self._keep(trial, now=epoch is None and trial.status != "running")
        if epoch is not None:
            # By its number: a trial that was taken up again tells of all its epochs anew.
            self.epochs.setdefault(trial.trial_id, {})[epoch.epoch] = asdict(epoch)
        elif trial.status == "running":
            self.writer.submit(self._open, trial).add_done_callback(_complain)
        else:
            self.writer.submit(self._close_once, trial).add_done_callback(_complain)

    def _keep(self, trial: Trial, now: bool) -> None:
        """Leaves the table as it is in the run's folder, for whoever asks before the search has ended."""
        self.trials[trial.trial_id] = asdict(trial)
        if now or time.monotonic() - self.kept_at >= KEEP_SECONDS:
            self.kept_at = time.monotonic()
            record = {"trials": list(self.trials.values())}
            self.writer.submit(self.folder.write, TRIALS, record).add_done_callback(_complain)

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
        run_id = self._open(trial)
        tracking.log_epochs(run_id, list(self.epochs.get(trial.trial_id, {}).values()))
        figures = {"distortion": trial.distortion, "rate": trial.rate, "negative_bound": trial.negative_bound}
        tracking.log_metrics(run_id, {name: value for name, value in figures.items() if value is not None})
        status = "FAILED" if trial.status == "failed" else "FINISHED"
        tracking.close_run(run_id, status, {"betaline.status": trial.status})
        self.closed.add(trial.trial_id)
        self.epochs.pop(trial.trial_id, None)

    def close_all(self, trials: Sequence[Trial]) -> None:
        """Closes what ended before this process was there to see it, in a search that was killed and has gone on; and tries
        again where MLflow was away.
        """
        for trial in trials:
            self.writer.submit(self._close_once, trial).add_done_callback(_complain)

    def _close_once(self, trial: Trial) -> None:
        """A lane that failed before its stack ended is told of again with it."""
        if trial.trial_id not in self.closed:
            self._close(trial)

    def finish(self) -> None:
        """Waits until everything is written."""
        self.writer.shutdown(wait=True)


def _log_result(
    job: Job,
    run_id: str,
    search_config: SearchConfig,
    trials: Sequence[Trial],
    best: Trial,
    config: RunConfig,
    num_dimensions: int,
) -> None:
    """The table, what was searched and the best configuration, in MLflow; the last beside the search's state."""
    chosen = write_yaml(config.model_dump(mode="json"))
    write_whole(job.folder.location / "best.yaml", chosen.encode())
    with TemporaryDirectory() as scratch:
        files = {
            "search.md": search_table(trials, num_dimensions, best.trial_id).encode(),
            "search.yaml": write_yaml(search_config.model_dump(mode="json")).encode(),
            "best.yaml": chosen.encode(),
        }
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        tracking.log_files(run_id, [Path(scratch) / name for name in files])
    assert best.negative_bound is not None
    tracking.log_metrics(run_id, {"best_negative_bound": best.negative_bound, "num_trials": len(trials)})


def _plan(config: SearchConfig, division: int) -> SearchPlan:
    parts = split(config, division)
    return SearchPlan(
        trials=num_trials(config, parts.searched),
        at_once=max_concurrent(resources_of(config)),
        epochs=config.base.training.epochs,
        lanes=len(parts.points_of({})),
    )


def _complain(done: Any) -> None:
    if error := done.exception():
        print(f"a trial could not be logged: {error}", file=sys.stderr, flush=True)


def _spent(config: SearchConfig, seconds: float) -> Stage:
    """What the search held of the cluster while trials ran on all of it."""
    need = resources_of(config)
    workers = need.workers * max_concurrent(need)
    return Stage("search", seconds, workers * need.cpus, workers * need.gpus)


def _with_model(
    known: Evidence, job: Job, config: SearchConfig, division: int, best: Trial, dataset: Dataset
) -> Evidence:
    """The same with the best trial's model, where it has left one."""
    try:
        found = model_of(config, division, dataset, f"{job.folder.uri}/tune", best)
    except CheckpointError as error:
        print(f"the report has no model: {error}", file=sys.stderr, flush=True)
        found = None
    if found is None:
        return known
    model, history = found
    known = replace(known, history=[asdict(epoch) for epoch in history], model=model)
    return reports.judged(known, dataset, model)


def _left(job: Job, config: SearchConfig, division: int, dataset: Dataset, known: Evidence) -> reports.Left | None:
    """The best trial's model at its last checkpoint, of a search that has not ended: by its bound as long as there is
    nothing yet that the rule looks at.
    """

    def best_by(rule: str) -> Best | None:
        chosen_by = config.model_copy(update={"select": rule})
        return best_of(chosen_by, division, dataset, f"{job.folder.uri}/tune", known.trials)

    best, by = best_by(config.select), ""
    if best is None:
        best, by = best_by("bound"), " by its validation bound"
    if best is None:
        return None
    told = replace(
        known,
        config=config_of(config, split(config), best.trial.parameters),
        chosen_trial=best.trial.trial_id,
        history=[asdict(epoch) for epoch in best.history],
    )
    last = best.history[-1]
    return reports.Left(
        told,
        best.model,
        f"trial {best.trial.trial_id}, the best so far{by}, at its checkpoint of step {last.step:,}, with the "
        f"weights of epoch {last.best_epoch}",
    )


def _known(request: TuneRequest, config: SearchConfig, dataset: Dataset, run_id: str) -> Evidence:
    """What is known before it searches."""
    return Evidence(
        config=config.base,
        dataset=dataset.manifest,
        name=request.name,
        stage="search",
        split="validation",
        rule=config.select,
        projection=request.projection,
        run_id=run_id,
    )


def _at_checkpoint(job: Job, config: SearchConfig, division: int, known: Evidence, dataset: Dataset) -> Evidence:
    """The same of a search that did not finish, with its best trial as far as it came."""
    return reports.seen_at_checkpoint(known, dataset, partial(_left, job, config, division, dataset))


def so_far(job: Job) -> Evidence:
    """What there is to report of a search that has not ended."""
    request = parse(TuneRequest, job.request, job.identity)
    division, dataset = int(job.kept("division")), Dataset.open(job.kept("dataset"))
    config, _ = choosing.search_of(job, request, dataset)
    known = _known(request, config, dataset, tracking.run_of(request.name, job.identity))
    told = replace(known, trials=[Trial(**trial) for trial in trials_so_far(job.folder).values()], is_over=False)
    return _at_checkpoint(job, config, division, told, dataset)


def run(job: Job) -> dict[str, Any]:
    ray.init()
    request = parse(TuneRequest, job.request, "tune")
    projections.check(request.projection)
    dataset = job.pinned("dataset", lambda: resolve(job.home, request.dataset))
    opened = Dataset.open(dataset)
    searched, chosen = choosing.search_of(job, request, opened)
    check_space(searched)
    run_id = tracking.open_run(
        request.name,
        job.identity,
        params=searched.model_dump(mode="json", exclude={"base", "space"}),
        tags={"betaline.kind": "search", tracking.DATASET: opened.manifest.dataset_id, **choosing.as_tag(chosen)},
    )
    division = int(job.pinned("division", lambda: str(division_of(searched))))
    trial_log = TrialLog(request.name, job.folder, job.identity, run_id)
    emit("search", asdict(_plan(searched, division)))
    for trial in trial_log.trials.values():
        emit("trial", trial)  # of a search that goes on
    started = time.monotonic()
    known = _known(request, searched, opened, run_id)

    def failed(said: str) -> Evidence:
        tried = [Trial(**trial) for trial in trial_log.trials.values()]
        spent = Stage("search", time.monotonic() - started)
        told = replace(known, trials=tried, stages=[spent], failure=said)
        return _at_checkpoint(job, searched, division, told, opened)

    with tracking.recorded(run_id), reports.left_on_failure(job, run_id, failed):
        try:
            trials = search(searched, dataset, f"{job.folder.uri}/tune", job.identity, trial_log, division=division)
            trial_log.close_all(trials)
        finally:
            trial_log.finish()
        best = select(trials, searched.select)
        config = config_of(searched, split(searched), best.parameters)
        search_seconds = time.monotonic() - started
        _log_result(job, run_id, searched, trials, best, config, opened.manifest.example.num_values)
        spent = _spent(searched, search_seconds)
        known = replace(known, config=config, trials=trials, chosen_trial=best.trial_id, stages=[spent])
        known = _with_model(known, job, searched, division, best, opened)
        tracking.tag(run_id, {tracking.VERDICT: words(known.findings)})
        left = reports.leave(job, run_id, lambda: reports.seen(known, known.model, opened) if known.model else known)
    return {
        "run": job.identity,
        "mlflow_run_id": run_id,
        "dataset": dataset,
        "trials": [asdict(trial) for trial in trials],
        "pareto": [trial.trial_id for trial in pareto(trials)],
        "best": asdict(best),
        "config": config.model_dump(mode="json"),
        "search": searched.model_dump(mode="json"),
        "chosen": choosing.as_result(chosen),
        "select": searched.select,
        "search_seconds": search_seconds,
        "verdict": words(known.findings),
        "findings": [asdict(finding) for finding in known.findings],
        "report": left,
    }
