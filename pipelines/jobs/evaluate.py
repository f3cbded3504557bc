"""Evaluate: scores a run on the test split, reports, registers, and proves that the version loads; before the gate."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray

from pipelines import report
from pipelines.jobs import run_report
from pipelines.jobs.job import Job
from pipelines.jobs.measuring import Measuring
from pipelines.jobs.searched import best_so_far, is_search
from pipelines.jobs.train import earlier_training
from pipelines.jobs.workers import Workers
from pipelines.models import drift, packaging, registry, row_scores, tracking
from pipelines.models.versions import Version
from pipelines.report import Evidence, gathering, projections
from pipelines.report.costs import Stage, training_stage
from pipelines.stages.promote import Evaluation, PromoteRequest
from pipelines.stages.train import DivergedTraining, JudgedModel, TrainedModel
from pipelines.stages.tune import SearchedModel, TuneResult
from vae import progress, serving
from vae.config import parse
from vae.data.parquet import Dataset
from vae.data.transforms import transform_of
from vae.errors import DataError
from vae.metrics.suite import check_families
from vae.storage import locate, sha256_of, write_whole
from vae.training.state import WEIGHTS, load_model
from vae.training.verdict import Finding, words

Request = PromoteRequest


def run(job: Job[PromoteRequest]) -> Evaluation:
    """Scores a trained run on the test split, registers it, and proves that it loads. The flow decides on the alias."""
    ray.init()
    request = job.request
    trained = best_so_far(job, request.run) if is_search(job, request.run) else earlier_training(job, request.run)
    projections.check(request.projection)
    started, known = time.monotonic(), _known(request, trained)

    def spent() -> list[Stage]:
        return [*known.stages, Stage("evaluate", time.monotonic() - started)]

    def failed(message: str) -> Evidence:
        return replace(known, stages=spent(), failure=message)

    # Step by step, so that the report of a promotion that fails has the evidence of the steps before.
    with run_report.left_on_failure(job, trained.mlflow_run_id, failed, tracking.FAILED_PROMOTION_FOLDER):
        if request.search:
            known = _with_search(known, parse(TuneResult, job.result_of(request.search), request.search))
        dataset = Dataset.open(trained.dataset, checks_shards=True)
        known = gathering.noted(replace(known, dataset=dataset.manifest), dataset)
        check_families(dataset, request.metrics)
        if not dataset.num_rows("test"):
            raise DataError(f"{dataset.uri} has no test split, on which a model is judged; ingest the data with one")
        known = replace(known, model=load_model(trained.model, trust_code=True))
        with Workers() as workers:
            measuring = Measuring(job, trained, dataset, known, workers)
            for evidence in measuring.steps():
                known = evidence
        known = replace(known, stages=spent())
        return _Candidate(job, trained, known, dataset, measuring).evaluation()


def _known(request: PromoteRequest, trained: TrainedModel) -> Evidence:
    """Returns the evidence that the training has left."""
    known = Evidence(
        config=trained.config,
        dataset=None,
        name=request.name,
        run_id=trained.mlflow_run_id,
        history=[asdict(epoch) for epoch in trained.history],
        projection=request.projection,
        findings=trained.findings if isinstance(trained, JudgedModel) else divergence(trained),
        stages=[training_stage(trained.config, trained.train_seconds)],
    )
    return _with_search(known, trained) if isinstance(trained, SearchedModel) else known


def divergence(trained: TrainedModel) -> list[Finding]:
    """Returns the finding of a run that diverged, whose model is of the epochs before."""
    if not isinstance(trained, DivergedTraining):
        return []
    epochs, advice = len(trained.history), f"--from {trained.run} {trained.advice}"
    return [Finding("diverged", epochs, f"the training diverged after {epochs} epochs: {trained.diverged}", advice)]


def _with_search(known: Evidence, searched: SearchedModel | TuneResult) -> Evidence:
    """Returns the evidence with the trials of a search."""
    is_over = isinstance(searched, TuneResult)
    stages = [Stage("search", searched.search_seconds)] if is_over else []
    return replace(
        known,
        trials=searched.trials,
        chosen_trial=searched.best.trial_id if is_over else searched.chosen_trial,
        rule=searched.select,
        stages=[*stages, *known.stages],
    )


@dataclass(frozen=True)
class _Candidate:
    """A scored model that becomes a version."""

    job: Job[PromoteRequest]
    trained: TrainedModel
    known: Evidence
    dataset: Dataset
    measured: Measuring

    def evaluation(self) -> Evaluation:
        """Registers the version, and returns everything that the gate decides by."""
        request, known, run_id = self.job.request, self.known, self.trained.mlflow_run_id
        metrics = self._metrics()
        tracking.log_metrics(run_id, metrics)
        with TemporaryDirectory() as scratch, packaging.fresh_process() as check_loads:
            page, version = self._register(Path(scratch))
            check_loads(version.uri)
        return Evaluation(
            version=version,
            score=self.measured.score,
            champion=self.measured.champion,
            champion_score=self.measured.champion_score,
            comparison=self.measured.comparison,
            metrics=metrics,
            mlflow_run_id=run_id,
            experiment_id=tracking.experiment_of(run_id),
            report=page,
            threshold_nats=request.threshold_nats,
            require=request.require,
            verdict=words(known.findings),
            findings=tuple(known.findings),
            accept=request.accept,
            alias=request.alias,
        )

    def _metrics(self) -> dict[str, float]:
        bound = self.known.bound
        assert bound is not None
        return {
            "test_negative_elbo": bound.negative_elbo,
            "test_distortion": bound.distortion,
            "test_rate": bound.rate,
            "test_active_units": float(bound.active_units),
            f"test_{self.measured.score.name}": self.measured.score.nats,
            **{f"test_{metric}": value for metric, value in self.known.metrics.items()},
        }

    def _register(self, scratch: Path) -> tuple[str, Version]:
        """Logs the report and the model, and registers it unless an earlier attempt has.

        Returns:
            The report's URI, and the version.
        """
        progress.report("report and model card")
        request, known, run_id = self.job.request, self.known, self.trained.mlflow_run_id
        card = report.card(known, f"models:/{request.name}@{request.alias}")
        assert known.model is not None
        local = _local_copy(self.trained.model, scratch / serving.ARTIFACT)
        weights = sha256_of(locate(str(local / WEIGHTS)))
        reference = scratch / drift.REFERENCE
        reference.write_text(self.measured.reference.model_dump_json())
        scores = row_scores.write(scratch, self.measured.rows, self.measured.score, weights, self.measured.device)
        page = run_report.log(self.job, run_id, [*report.write(known, scratch / "report").values(), reference, scores])
        version = registry.registered(request.name, run_id, weights)
        if version is None:
            progress.report("registering")
            uri = packaging.log_model(run_id, local, known.config.model, _input_example(known), card)
            version = registry.register(
                request.name, uri, run_id, weights, self.measured.score, card, words(known.findings)
            )
        return page, version


def _input_example(known: Evidence) -> Any:
    """Returns two rows as `predict` takes them, with their conditions if the model is conditional."""
    assert known.model is not None
    assert known.rows is not None
    rows = transform_of(known.model.examples).write_values(known.rows.values[:2].numpy())
    conditions = known.conditions(2)
    return (rows, {"condition": conditions}) if conditions else rows


def _local_copy(uri: str, folder: Path) -> Path:
    """Copies the files of a folder to this machine."""
    source = locate(uri)
    for info in source.list():
        write_whole(locate(str(folder / info.base_name)), (source / info.base_name).read())
    return folder
