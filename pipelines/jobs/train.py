"""Train: one configuration as a Ray Train run, with its curves in MLflow."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict
from typing import Any

import ray

from pipelines import registry
from pipelines.jobs.job import Job
from pipelines.requests import TrainRequest
from pipelines.runs import emit
from vae.config import parse
from vae.data.catalog import resolve
from vae.data.parquet import Dataset
from vae.distributed import TrainSpec, train


def run(job: Job) -> dict[str, Any]:
    ray.init()
    request = parse(TrainRequest, job.request, "train")
    dataset = job.pinned("dataset", lambda: resolve(job.home, request.dataset))
    dataset_id = Dataset.open(dataset).manifest.dataset_id
    run_id = registry.open_run(
        request.name,
        job.identity,
        params={**request.config.model_dump(mode="json"), "dataset": dataset},
        tags={registry.DATASET: dataset_id, "betaline.kind": "train"},
    )
    spec = TrainSpec(request.config, dataset, job.folder.uri, job.identity)
    started = time.monotonic()
    with registry.recorded(run_id):
        outcome = train(spec, on_report=registry.EpochLog(run_id), on_event=emit)
        registry.log_epochs(run_id, outcome.history)
        speed = statistics.median(epoch["examples_per_second"] for epoch in outcome.history)
        registry.log_metrics(run_id, {"median_examples_per_second": speed})
    return {
        "run": job.identity,
        "mlflow_run_id": run_id,
        "dataset": dataset,
        "dataset_id": dataset_id,
        "config": request.config.model_dump(mode="json"),
        "train_seconds": time.monotonic() - started,
        **asdict(outcome),
    }
