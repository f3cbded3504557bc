"""The configuration that a run takes where its request names none, chosen at the run's first attempt."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pipelines.flows.requests import TrainRequest, TuneRequest
from pipelines.jobs.job import Job
from tuning.space import SearchConfig
from vae.config import RunConfig
from vae.config.suiting import Suited, facts_of, fitted, suited
from vae.data.parquet import Dataset

CHOSEN = "betaline.chosen"
"""Tag of an MLflow run: the default configuration that was chosen, and why."""


def training_of(job: Job, request: TrainRequest, dataset: Dataset) -> tuple[RunConfig, Suited | None]:
    """Returns what a run trains, and the default that was chosen where the request names no configuration."""
    chosen = _chosen(job, dataset, request.preset) if request.config is None else None
    return request.config_for(chosen.config() if chosen else RunConfig()), chosen


def search_of(job: Job, request: TuneRequest, dataset: Dataset) -> tuple[SearchConfig, Suited | None]:
    """Returns what a run searches, and the default base that was chosen where the request names no search."""
    chosen = _chosen(job, dataset, request.preset) if request.search is None else None
    return request.search_around(chosen.config() if chosen else RunConfig()), chosen


def as_result(chosen: Suited | None) -> dict[str, Any] | None:
    """Returns the choice as a job's result states it."""
    return None if chosen is None else {**asdict(chosen), "sentence": chosen.sentence()}


def as_tag(chosen: Suited | None) -> dict[str, str]:
    """Returns the choice as a tag of the MLflow run."""
    return {} if chosen is None else {CHOSEN: chosen.sentence()}


def _chosen(job: Job, dataset: Dataset, preset: str | None) -> Suited:
    """Returns the run's choice, pinned, so that a later attempt trains the same model."""

    def choose() -> str:
        return json.dumps(asdict(fitted(preset, dataset) if preset else suited(facts_of(dataset))))

    return Suited(**json.loads(job.pinned("chosen", choose)))
