"""Tune: a search with Ray Tune, with every trial as a child run in MLflow."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import ray

from pipelines.cluster.search_progress import SearchProgress
from pipelines.jobs import choosing, run_report
from pipelines.jobs.job import Job
from pipelines.jobs.trial_log import TrialLog, trials_so_far
from pipelines.jobs.workers import Workers
from pipelines.models import tracking
from pipelines.report import Evidence, gathering, projections, search_table
from pipelines.report.costs import Stage
from pipelines.stages.train import Choice
from pipelines.stages.tune import TuneRequest, TuneResult
from pipelines.stages.yaml_files import write_yaml
from tuning.frontier import Trial, pareto, select
from tuning.models import Best, best_of, model_of
from tuning.search import division_of, max_concurrent, num_trials, resources_of, search
from tuning.space import SearchConfig, check_space
from tuning.stacks import config_of, plan_stacks
from vae import progress
from vae.config import RunConfig
from vae.data.catalog import resolve
from vae.data.parquet import Dataset
from vae.errors import CheckpointError
from vae.storage import write_whole
from vae.training.verdict import words

Request = TuneRequest


@dataclass(frozen=True)
class Search:
    """A search as its first attempt settled it."""

    job: Job[TuneRequest]
    config: SearchConfig
    division: int
    """Number of stacks into which the lanes of an architecture are divided."""
    dataset: Dataset

    @property
    def folder(self) -> str:
        """URI of Ray Tune's folder."""
        return f"{self.job.folder.uri}/tune"

    def known(self, run_id: str) -> Evidence:
        """Returns the evidence before the search."""
        request = self.job.request
        return Evidence(
            config=self.config.base,
            dataset=self.dataset.manifest,
            name=request.name,
            stage="search",
            split="validation",
            rule=self.config.select,
            projection=request.projection,
            run_id=run_id,
        )

    def at_checkpoint(self, known: Evidence) -> Evidence:
        """Returns the evidence of a search that did not finish, with its best trial at its last checkpoint."""
        return run_report.seen_at_checkpoint(known, self.dataset, self._left)

    def _left(self, known: Evidence) -> run_report.Left | None:
        """Returns the model of the best trial so far; the best by its bound until a trial has what the rule looks at."""

        def best_by(rule: str) -> Best | None:
            config = self.config.model_copy(update={"select": rule})
            return best_of(config, self.division, self.dataset, self.folder, known.trials)

        best, by = best_by(self.config.select), ""
        if best is None:
            best, by = best_by("bound"), " by its validation bound"
        if best is None:
            return None
        last = best.history[-1]
        known = replace(
            known,
            config=config_of(self.config, plan_stacks(self.config), best.trial.parameters),
            chosen_trial=best.trial.trial_id,
            history=[asdict(epoch) for epoch in best.history],
        )
        return run_report.Left(
            known,
            best.model,
            f"trial {best.trial.trial_id}, the best so far{by}, at its checkpoint of step {last.step:,}, with the "
            f"weights of epoch {last.best_epoch}",
        )

    def with_model(self, known: Evidence, best: Trial) -> Evidence:
        """Returns the evidence with the best trial's model, if it left one; a worker reads and completes it."""
        progress.report("reading the best trial's model")
        try:
            with Workers() as workers:
                call = workers.start(model_of, self.config, self.division, self.dataset, self.folder, best)
                left = workers.result(call)
        except CheckpointError as error:
            print(f"the report has no model: {error}", file=sys.stderr, flush=True)
            left = None
        if left is None:
            return known
        model, history = left
        known = replace(known, history=[asdict(epoch) for epoch in history], model=model)
        return gathering.judged(known, self.dataset, model)

    def spent(self, seconds: float) -> Stage:
        """Returns the cost of the search: the part of the cluster that its trials held."""
        need = resources_of(self.config)
        workers = need.workers * max_concurrent(need)
        return Stage("search", seconds, workers * need.cpus, workers * need.gpus)


def run(job: Job[TuneRequest]) -> TuneResult:
    """Searches a space of configurations on the cluster."""
    progress.report("connecting to Ray")
    ray.init()
    projections.check(job.request.projection)
    progress.report("opening the dataset and a run in MLflow")
    dataset = Dataset.open(job.pinned("dataset", lambda: resolve(job.home, job.request.dataset)))
    config, chosen = choosing.search_of(job, dataset)
    check_space(config)
    run_id = tracking.open_run(
        job.request.name,
        job.identity,
        params=config.model_dump(mode="json", exclude={"base", "space"}),
        tags={"betaline.kind": "search", tracking.DATASET: dataset.manifest.dataset_id, **choosing.as_tag(chosen)},
    )
    searched = Search(job, config, int(job.pinned("division", lambda: str(division_of(config)))), dataset)
    trial_log = TrialLog(job.request.name, job.folder, job.identity, run_id, _progress(config, searched.division))
    started, known = time.monotonic(), searched.known(run_id)

    def failed(message: str) -> Evidence:
        spent = Stage("search", time.monotonic() - started)
        trials = [*trial_log.trials.values()]
        return searched.at_checkpoint(replace(known, trials=trials, stages=[spent], failure=message))

    with tracking.recorded(run_id), run_report.left_on_failure(job, run_id, failed):
        trials = _trials(searched, trial_log)
        seconds = time.monotonic() - started
        known = _chosen(searched, known, trials, seconds)
        model = known.model
        report = run_report.leave(job, run_id, lambda: gathering.seen(known, model, dataset) if model else known)
    return _result(searched, known, chosen, seconds, report)


def _chosen(searched: Search, known: Evidence, trials: list[Trial], seconds: float) -> Evidence:
    """Returns the evidence with the best trial, which is logged to MLflow with the table and the verdict."""
    run_id = known.run_id
    assert run_id is not None, "it is a run of MLflow"
    best = select(trials, searched.config.select)
    config = config_of(searched.config, plan_stacks(searched.config), best.parameters)
    _log_result(searched, run_id, trials, best, config)
    stages = [searched.spent(seconds)]
    known = replace(known, config=config, trials=trials, chosen_trial=best.trial_id, stages=stages)
    known = searched.with_model(known, best)
    tracking.tag(run_id, {tracking.VERDICT: words(known.findings)})
    return known


def _result(searched: Search, known: Evidence, chosen: Choice | None, seconds: float, report: str | None) -> TuneResult:
    assert known.run_id is not None, "it is a run of MLflow"
    assert known.chosen is not None, "a trial was chosen"
    return TuneResult(
        run=searched.job.identity,
        mlflow_run_id=known.run_id,
        dataset=searched.dataset.uri,
        trials=tuple(known.trials),
        pareto=tuple(trial.trial_id for trial in pareto(known.trials)),
        best=known.chosen,
        config=known.config,
        search=searched.config,
        chosen=chosen,
        select=searched.config.select,
        search_seconds=seconds,
        verdict=words(known.findings),
        findings=tuple(known.findings),
        report=report,
    )


def so_far(job: Job[TuneRequest]) -> Evidence:
    """Returns the evidence of a search that has not ended."""
    searched = earlier_search(job)
    known = searched.known(tracking.run_of(job.request.name, job.identity))
    trials = [*trials_so_far(job.folder).values()]
    return searched.at_checkpoint(replace(known, trials=trials, is_over=False))


def earlier_search(job: Job[TuneRequest]) -> Search:
    """Returns a search as its first attempt settled it.

    Raises:
        RegistryError: If no attempt has begun.
    """
    division, dataset = int(job.kept("division")), Dataset.open(job.kept("dataset"))
    config, _ = choosing.search_of(job, dataset)
    return Search(job, config, division, dataset)


def _progress(config: SearchConfig, division: int) -> SearchProgress:
    searched = plan_stacks(config, division).searched
    return SearchProgress(num_trials(config, searched), config.base.training.epochs)


def _trials(searched: Search, trial_log: TrialLog) -> list[Trial]:
    """Does the search, and waits until every trial is logged."""
    try:
        trials = search(
            searched.config,
            searched.dataset.uri,
            searched.folder,
            searched.job.identity,
            trial_log,
            division=searched.division,
        )
        progress.report("sending the trials to MLflow")
        trial_log.close_all(trials)
    finally:
        trial_log.finish()
    return trials


def _log_result(searched: Search, run_id: str, trials: list[Trial], best: Trial, config: RunConfig) -> None:
    """Logs the table, the search and the best configuration to MLflow; the last also to the run's folder."""
    chosen = write_yaml(config.model_dump(mode="json"))
    write_whole(searched.job.folder.location / "best.yaml", chosen.encode())
    num_dimensions = searched.dataset.manifest.example.num_values
    with TemporaryDirectory() as scratch:
        files = {
            "search.md": search_table(trials, num_dimensions, best.trial_id),
            "search.yaml": write_yaml(searched.config.model_dump(mode="json")),
            "best.yaml": chosen,
        }
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content.encode())
        tracking.log_files(run_id, [Path(scratch) / name for name in files])
    assert best.negative_bound is not None
    tracking.log_metrics(run_id, {"best_negative_bound": best.negative_bound, "num_trials": len(trials)})
