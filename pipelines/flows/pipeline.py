"""The flow that runs all stages: ingest, search, train the best configuration, promote it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pipelines.flows.ingest import ingest
from pipelines.flows.promote import hand_on
from pipelines.flows.ray_job import own_identity, stage
from pipelines.flows.train import train
from pipelines.flows.tune import tune
from pipelines.stages.pipeline import PipelineRequest, PipelineResult
from pipelines.stages.promote import PromoteRequest, Promotion
from pipelines.stages.train import TrainRequest
from pipelines.stages.tune import TuneRequest
from tuning.space import configuration


@stage
def pipeline(request: PipelineRequest, run: str | None = None) -> PipelineResult:
    """Ingests a source, searches, trains the best configuration to convergence, and promotes it.

    Args:
        request: What to ingest, what to search, how to train.
        run: Name of the pipeline run; the same name resumes an earlier run. None derives a new name.
    """
    run = own_identity("pipeline", run)
    name = request.ingest.name
    seconds: dict[str, float] = {}
    with _timed(seconds, "ingest"):
        dataset = ingest(request.ingest, run=f"{run}-ingest")
    with _timed(seconds, "tune"):
        search = tune(TuneRequest(dataset=dataset.uri, name=name, search=request.search), run=f"{run}-tune")
    final = search.search.model_copy(update={"base": request.final(search.search.base)})
    config = configuration(final, search.best.parameters)
    with _timed(seconds, "train"):
        training = train(TrainRequest(dataset=dataset.uri, name=name, config=config), run=f"{run}-train")
    shared = request.model_dump(include={*Promotion.model_fields})
    promotion_request = PromoteRequest(run=training.run, name=name, search=search.run, **shared)
    with _timed(seconds, "promote"):
        promotion = hand_on(promotion_request, f"{run}-promote")
    return PipelineResult(dataset=dataset, search=search, training=training, promotion=promotion, seconds=seconds)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = datetime.now(UTC)
    yield
    seconds[stage] = (datetime.now(UTC) - started).total_seconds()
