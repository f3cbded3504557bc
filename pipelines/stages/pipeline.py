"""Pipeline: ingest a source, search, train the best configuration, and promote it."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pipelines.data.ingest import IngestResult
from pipelines.data.sources import IngestConfig
from pipelines.stages.fields import Result
from pipelines.stages.promote import PendingPromotion, PromoteResult, Promotion
from pipelines.stages.train import TrainResult
from pipelines.stages.tune import TuneResult
from tuning.space import SearchConfig
from vae.config import RunConfig, ScalingConfig, TrainingConfig


class PipelineRequest(Promotion):
    """Ingest a source, search, train the best configuration, and promote it."""

    ingest: IngestConfig
    """Source to ingest, and how."""
    search: SearchConfig | None = None
    """Search; None searches around a preset that suits the dataset: see `vae.config.suiting`."""
    training: TrainingConfig | None = None
    """Training of the selected configuration; None trains it as the trials were trained."""
    scaling: ScalingConfig = ScalingConfig()
    """Workers of the final training."""

    @model_validator(mode="after")
    def _final_training_fits(self) -> Self:
        if self.search is not None:
            self.final(self.search.base)  # refuses a batch that is smaller than the workers
        return self

    def final(self, base: RunConfig) -> RunConfig:
        """Returns the configuration of the final training, before the selected trial's values are set in it."""
        return RunConfig(
            data=base.data,
            model=base.model,
            objective=base.objective,
            training=self.training or base.training,
            scaling=self.scaling,
        )


class PipelineResult(Result):
    """Results of the stages, and their durations."""

    dataset: IngestResult
    search: TuneResult
    training: TrainResult
    promotion: PromoteResult | PendingPromotion
    seconds: dict[str, float]
    """Duration of each stage in seconds."""
