"""Train: one configuration as a Ray Train run, with its curves in MLflow."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import ray

from pipelines.cluster.runs import LEFT, emit
from pipelines.flows.requests import TrainRequest
from pipelines.jobs import choosing, reports
from pipelines.jobs.job import Job
from pipelines.models import tracking
from pipelines.report import Evidence, projections
from pipelines.report.costs import training_stage
from vae.config import RunConfig, parse
from vae.data.catalog import resolve
from vae.data.parquet import Dataset
from vae.data.scale import scale_of
from vae.errors import Diverged
from vae.storage import locate
from vae.training.distributed import TrainSpec, train
from vae.training.guard import slower
from vae.training.loop import unfinished
from vae.training.reports import EpochReport
from vae.training.state import MODEL, load_model
from vae.training.verdict import has_blown_up, words


def _left(spec: TrainSpec, dataset: Dataset, known: Evidence) -> reports.Left | None:
    """The model at the last checkpoint of a training that has not ended."""
    if (found := unfinished(spec.config, dataset, spec.checkpoints)) is None:
        return None
    epochs = found.history
    when = f"with the weights of epoch {epochs[-1].best_epoch}, the best by then" if epochs else "in the first epoch"
    if len(epochs) >= len(known.history):  # it knows more of them than MLflow
        known = replace(known, history=[asdict(epoch) for epoch in epochs])
    return reports.Left(known, found.model, f"the checkpoint at step {found.step:,}, {when}")


def spec_of(job: Job, config: RunConfig, dataset: Dataset, start_from: str | None = None) -> TrainSpec:
    """Returns what every worker needs to know of a job's training."""
    start = None if start_from is None else job.result_of(start_from)["model"]
    return TrainSpec(config, dataset.uri, job.folder.uri, job.identity, start)


def _known(request: TrainRequest, config: RunConfig, dataset: Dataset, run_id: str) -> Evidence:
    """What is known before it trains."""
    return Evidence(
        config=config,
        dataset=dataset.manifest,
        name=request.name,
        stage="training",
        split="validation",
        projection=request.projection,
        run_id=run_id,
    )


def _at_checkpoint(job: Job, known: Evidence, dataset: Dataset) -> Evidence:
    """The same of a run that did not finish, as far as it came."""
    assert known.run_id is not None, "it is a run of MLflow"
    spec = spec_of(job, known.config, dataset)
    told = replace(known, history=tracking.epochs_of(known.run_id))
    return reports.seen_at_checkpoint(told, dataset, partial(_left, spec, dataset))


def so_far(job: Job) -> Evidence:
    """What there is to report of a training that has not ended."""
    request = parse(TrainRequest, job.request, job.identity)
    dataset = Dataset.open(job.kept("dataset"))
    config, _ = choosing.training_of(job, request, dataset)
    known = _known(request, config, dataset, tracking.run_of(request.name, job.identity))
    return _at_checkpoint(job, replace(known, is_over=False), dataset)


def _left_behind(
    job: Job, request: TrainRequest, known: Evidence, spec: TrainSpec, error: Diverged, seconds: float
) -> Diverged:
    """Returns the error of a training that diverged, with the command that goes on from its last good weights.

    The model and what belongs to it are left in the run's folder, from where it can be promoted or started from.
    """
    assert known.run_id is not None, "it is a run of MLflow"
    model, advice = locate(spec.folder) / "model", slower(known.config.training)
    if not (model / MODEL).exists():
        return Diverged(f"{error}\nNo epoch was finished: train again under another --run with these flags")
    dataset = Dataset.open(spec.dataset)
    best = EpochReport(**known.history[known.history[-1]["best_epoch"] - 1])
    if has_blown_up(best, scale_of(known.config, dataset)):
        return Diverged(f"{error}\nNo epoch was any good before: train again under another --run with these flags")
    left = {
        "run": job.identity,
        "mlflow_run_id": known.run_id,
        "dataset": spec.dataset,
        "dataset_id": dataset.manifest.dataset_id,
        "config": known.config.model_dump(mode="json"),
        "train_seconds": seconds,
        "model": model.uri,
        "history": known.history,
        "diverged": str(error),
        "advice": advice,
    }
    job.folder.write(LEFT, left)
    return Diverged(
        f"{error}\nThe weights of epoch {known.history[-1]['best_epoch']} are kept. To go on from them more slowly: "
        f"betaline train {request.dataset} --start-from {job.identity} {advice}"
    )


def run(job: Job) -> dict[str, Any]:
    ray.init()
    request = parse(TrainRequest, job.request, "train")
    dataset = job.pinned("dataset", lambda: resolve(job.home, request.dataset))
    projections.check(request.projection)
    opened = Dataset.open(dataset)
    config, chosen = choosing.training_of(job, request, opened)
    dataset_id = opened.manifest.dataset_id
    run_id = tracking.open_run(
        request.name,
        job.identity,
        params={**config.model_dump(mode="json"), "dataset": dataset},
        tags={tracking.DATASET: dataset_id, "betaline.kind": "train", **choosing.as_tag(chosen)},
    )
    spec = spec_of(job, config, opened, request.start_from)
    known = _known(request, config, opened, run_id)
    epochs, started = tracking.EpochLog(run_id), time.monotonic()

    def failed(said: str) -> Evidence:
        epochs.finish()
        spent = training_stage(config, time.monotonic() - started)
        return _at_checkpoint(job, replace(known, stages=[spent], failure=said), opened)

    with tracking.recorded(run_id), reports.left_on_failure(job, run_id, failed):
        try:
            outcome = train(spec, on_report=epochs, on_event=emit)
        except Diverged as error:
            epochs.finish()
            known = replace(known, history=[*epochs.epochs.values()])
            raise _left_behind(job, request, known, spec, error, time.monotonic() - started) from None
        tracking.log_epochs(run_id, outcome.history)
        speed = statistics.median(epoch["examples_per_second"] for epoch in outcome.history)
        tracking.log_metrics(run_id, {"median_examples_per_second": speed})
        train_seconds = time.monotonic() - started
        known = replace(known, history=outcome.history, stages=[training_stage(config, train_seconds)])
        known = reports.judged(known, opened, model := load_model(outcome.model))
        tracking.tag(run_id, {tracking.VERDICT: words(known.findings)})
        left = reports.leave(job, run_id, lambda: reports.seen(known, model, opened))
    return {
        "run": job.identity,
        "mlflow_run_id": run_id,
        "dataset": dataset,
        "dataset_id": dataset_id,
        "config": config.model_dump(mode="json"),
        "chosen": choosing.as_result(chosen),
        "train_seconds": train_seconds,
        "report": left,
        "verdict": words(known.findings),
        "findings": [asdict(finding) for finding in known.findings],
        **asdict(outcome),
    }
