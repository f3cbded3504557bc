"""Train: one configuration as a Ray Train run, with its curves in MLflow."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import ray

from pipelines.cluster.runs import LEFT, emit
from pipelines.jobs import choosing, run_report
from pipelines.jobs.job import Job
from pipelines.models import packaging, registry, tracking
from pipelines.report import Evidence, gathering, projections
from pipelines.report.costs import training_stage
from pipelines.stages.train import Choice, DivergedTraining, JudgedModel, TrainedModel, TrainRequest, TrainResult
from vae import progress
from vae.config import RunConfig, parse
from vae.config.scale import scale_of
from vae.data.catalog import resolve
from vae.data.parquet import Dataset
from vae.errors import Diverged, RegistryError
from vae.storage import write_whole
from vae.training.distributed import TrainOutcome, TrainSpec, train
from vae.training.guard import slower
from vae.training.hooks import EpochReport
from vae.training.loop import unfinished
from vae.training.state import MODEL, load_model
from vae.training.verdict import has_blown_up, words

Request = TrainRequest
REGISTERED = "models:/"


def run(job: Job[TrainRequest]) -> TrainResult:
    """Trains one configuration on the cluster."""
    progress.report("connecting to Ray")
    ray.init()
    uri = job.pinned("dataset", lambda: resolve(job.home, job.request.dataset))
    projections.check(job.request.projection)
    progress.report("opening the dataset and a run in MLflow")
    dataset = Dataset.open(uri)
    config, chosen = choosing.training_of(job, dataset, start := start_of(job))
    run_id = tracking.open_run(
        job.request.name,
        job.identity,
        params={**config.model_dump(mode="json"), "dataset": uri},
        tags={tracking.DATASET: dataset.manifest.dataset_id, "betaline.kind": "train", **choosing.as_tag(chosen)},
    )
    known = gathering.noted(_known(job.request, config, dataset, run_id), dataset)
    epochs, started = tracking.EpochLog(run_id), time.monotonic()

    def failed(message: str) -> Evidence:
        epochs.finish()
        spent = training_stage(config, time.monotonic() - started)
        return _at_checkpoint(job, replace(known, stages=[spent], failure=message), dataset)

    with tracking.recorded(run_id), run_report.left_on_failure(job, run_id, failed):
        outcome = _trained(job, known, dataset, epochs, started, start)
        seconds = time.monotonic() - started
        known = replace(known, history=outcome.history, stages=[training_stage(config, seconds)])
        known = gathering.judged(known, dataset, model := load_model(outcome.model, trust_code=True))
        tracking.tag(run_id, {tracking.VERDICT: words(known.findings)})
        report = run_report.leave(job, run_id, lambda: gathering.seen(known, model, dataset))
    return _result(job, known, dataset, outcome, chosen, seconds, report)


def _result(
    job: Job[TrainRequest],
    known: Evidence,
    dataset: Dataset,
    outcome: TrainOutcome,
    chosen: Choice | None,
    seconds: float,
    report: str | None,
) -> TrainResult:
    assert known.run_id is not None, "it is a run of MLflow"
    return TrainResult(
        run=job.identity,
        mlflow_run_id=known.run_id,
        dataset=dataset.uri,
        dataset_id=dataset.manifest.dataset_id,
        config=known.config,
        chosen=chosen,
        train_seconds=seconds,
        report=report,
        verdict=words(known.findings),
        findings=tuple(known.findings),
        model=outcome.model,
        history=tuple(EpochReport(**epoch) for epoch in outcome.history),
        best=EpochReport(**outcome.best),
        resumed_from_step=outcome.resumed_from_step,
    )


def so_far(job: Job[TrainRequest]) -> Evidence:
    """Returns the evidence of a training that has not ended."""
    dataset = Dataset.open(job.kept("dataset"))
    config, _ = choosing.training_of(job, dataset, start_of(job))
    known = _known(job.request, config, dataset, tracking.run_of(job.request.name, job.identity))
    return _at_checkpoint(job, replace(known, is_over=False), dataset)


def earlier_training(job: Job, identity: str) -> TrainedModel:
    """Returns the result of an earlier training run, or what it left behind when it diverged.

    Raises:
        RegistryError: If there is no such run, it has not finished, or it trained no model.
    """
    result = job.result_of(identity)
    if "model" not in result:
        raise RegistryError(f"{identity} trained no model: give the name that `betaline train` or `tune` printed")
    return parse(DivergedTraining if "diverged" in result else JudgedModel, result, identity)


def start_of(job: Job[TrainRequest]) -> str | None:
    """Returns the URI of the model that a job starts from; None for new weights.

    A registered version is copied to the job's folder, so that later attempts start from the same one.
    """
    asked, copied = job.request.start_from, job.folder.location / "start"
    if asked is None or ("/" in asked and not asked.startswith(REGISTERED)):
        return asked
    if not asked.startswith(REGISTERED):
        return earlier_training(job, asked).model
    if not (copied / MODEL).exists():
        version = registry.resolve(asked.removeprefix(REGISTERED))
        with TemporaryDirectory() as scratch:
            files = sorted(
                packaging.download(version.uri, Path(scratch)).iterdir(), key=lambda file: file.name == MODEL
            )
            for file in files:
                write_whole(copied / file.name, file.read_bytes())
    return copied.uri


def spec_of(job: Job, config: RunConfig, dataset: Dataset, start: str | None = None) -> TrainSpec:
    """Returns the specification of a job's training that every worker gets."""
    return TrainSpec(config, dataset.uri, job.folder.uri, job.identity, start)


def _known(request: TrainRequest, config: RunConfig, dataset: Dataset, run_id: str) -> Evidence:
    """Returns the evidence before the training."""
    return Evidence(
        config=config,
        dataset=dataset.manifest,
        name=request.name,
        stage="training",
        split="validation",
        projection=request.projection,
        run_id=run_id,
    )


def _trained(
    job: Job[TrainRequest],
    known: Evidence,
    dataset: Dataset,
    epochs: tracking.EpochLog,
    started: float,
    start: str | None,
) -> TrainOutcome:
    """Trains, and sends the curves and the speed to MLflow.

    Raises:
        Diverged: If the training diverged; its message says how to train on.
    """
    spec = spec_of(job, known.config, dataset, start)
    progress.report(f"starting {known.config.scaling.num_workers} worker processes")
    try:
        outcome = train(spec, on_report=epochs, on_event=emit)
    except Diverged as error:
        epochs.finish()
        known = replace(known, history=[*epochs.epochs.values()])
        raise _left_behind(job, known, dataset, error, time.monotonic() - started) from None
    assert known.run_id is not None, "it is a run of MLflow"
    progress.report("sending the curves to MLflow")
    tracking.log_epochs(known.run_id, outcome.history)
    speed = statistics.median(epoch["examples_per_second"] for epoch in outcome.history)
    tracking.log_metrics(known.run_id, {"median_examples_per_second": speed})
    return outcome


def _left_behind(
    job: Job[TrainRequest], known: Evidence, dataset: Dataset, error: Diverged, seconds: float
) -> Diverged:
    """Returns the error of a training that diverged, with the command that trains on from its last good weights.

    Keeps the model and its facts in the run's folder, from where it can be promoted or trained on.
    """
    assert known.run_id is not None, "it is a run of MLflow"
    model, advice = job.folder.location / "model", slower(known.config.training)
    if not (model / MODEL).exists():
        return Diverged(f"{error}\nNo epoch was finished: train again under another --run with these flags")
    kept = known.history[-1]["best_epoch"]
    if has_blown_up(EpochReport(**known.history[kept - 1]), scale_of(known.config, dataset)):
        return Diverged(f"{error}\nNo epoch was any good before: train again under another --run with these flags")
    left = DivergedTraining(
        run=job.identity,
        mlflow_run_id=known.run_id,
        dataset=dataset.uri,
        dataset_id=dataset.manifest.dataset_id,
        config=known.config,
        train_seconds=seconds,
        model=model.uri,
        history=tuple(EpochReport(**epoch) for epoch in known.history),
        diverged=str(error),
        advice=advice,
    )
    job.folder.write(LEFT, left.model_dump(mode="json"))
    return Diverged(
        f"{error}\nThe weights of epoch {kept} are kept. To go on from them more slowly: "
        f"betaline train {job.request.dataset} --from {job.identity} {advice}"
    )


def _at_checkpoint(job: Job, known: Evidence, dataset: Dataset) -> Evidence:
    """Returns the evidence of a run that did not finish, with the model at its last checkpoint."""
    assert known.run_id is not None, "it is a run of MLflow"
    spec = spec_of(job, known.config, dataset)
    known = replace(known, history=tracking.epochs_of(known.run_id))
    return run_report.seen_at_checkpoint(known, dataset, partial(_left, spec, dataset))


def _left(spec: TrainSpec, dataset: Dataset, known: Evidence) -> run_report.Left | None:
    """Returns the model at the last checkpoint of a training that has not ended; None if it has no checkpoint."""
    if (checkpoint := unfinished(spec.config, dataset, spec.checkpoints)) is None:
        return None
    epochs = checkpoint.history
    when = f"with the weights of epoch {epochs[-1].best_epoch}, the best by then" if epochs else "in the first epoch"
    if len(epochs) >= len(known.history):  # the checkpoint may have more epochs than MLflow
        known = replace(known, history=[asdict(epoch) for epoch in epochs])
    return run_report.Left(known, checkpoint.model, f"the checkpoint at step {checkpoint.step:,}, {when}")
