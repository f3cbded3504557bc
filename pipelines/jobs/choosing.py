"""The default configuration of a run whose request names none, chosen at the run's first attempt."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipelines.jobs.job import Job
from pipelines.stages.train import Choice, TrainRequest
from pipelines.stages.tune import TuneRequest
from tuning.space import SearchConfig
from vae.config import RunConfig, override
from vae.config.suiting import Suited, facts_of, fitted, suited
from vae.data.parquet import Dataset
from vae.training.state import load_model

CHOSEN = "betaline.chosen"
"""Tag of an MLflow run: the chosen default configuration and the reason."""


def training_of(job: Job[TrainRequest], dataset: Dataset, start: str | None = None) -> tuple[RunConfig, Choice | None]:
    """Returns the configuration to train, and the default that was chosen if the request names no configuration.

    Args:
        job: The job.
        dataset: Dataset to train on.
        start: URI of a model that the training starts from, whose parts are then the default.
    """
    chosen = _chosen(job, dataset, job.request.preset) if job.request.config is None else None
    if chosen is not None and start is not None and job.request.preset is None:
        parts = load_model(start, trust_code=True).config.model_dump()
        return job.request.config_for(override(chosen.config(), {"model": parts}, start)), None
    return job.request.config_for(chosen.config() if chosen else RunConfig()), _stated(chosen)


def search_of(job: Job[TuneRequest], dataset: Dataset) -> tuple[SearchConfig, Choice | None]:
    """Returns the search to do, and the default base that was chosen if the request names no search."""
    chosen = _chosen(job, dataset, job.request.preset) if job.request.search is None else None
    return job.request.search_around(chosen.config() if chosen else RunConfig()), _stated(chosen)


def default_of(preset: str | None, dataset: Dataset) -> Suited:
    """Returns the default configuration for a dataset: of a preset, or else of the one that suits it."""
    return fitted(preset, dataset) if preset else suited(facts_of(dataset))


def as_tag(chosen: Choice | None) -> dict[str, str]:
    """Returns the choice as a tag of the MLflow run."""
    return {} if chosen is None else {CHOSEN: chosen.sentence}


def _stated(chosen: Suited | None) -> Choice | None:
    return None if chosen is None else Choice(**asdict(chosen), sentence=chosen.sentence())


def _chosen(job: Job, dataset: Dataset, preset: str | None) -> Suited:
    """Returns the run's choice, pinned, so that a later attempt trains the same model."""

    def choose() -> str:
        return json.dumps(asdict(default_of(preset, dataset)))

    return Suited(**json.loads(job.pinned("chosen", choose)))
