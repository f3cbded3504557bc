"""Train: one configuration on one dataset."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from pipelines.stages.fields import ModelRequest, Result, is_absent
from pipelines.stages.promote import Judged, PendingPromotion, PromoteResult
from vae.config import RunConfig, ScalingConfig, override, suiting
from vae.training.hooks import EpochReport
from vae.training.verdict import Finding


class TrainRequest(ModelRequest):
    """Train one configuration on one dataset."""

    config: RunConfig | None = None
    """Configuration to train; None takes the preset."""
    start_from: str | None = None
    """Model whose weights this run starts from: the name of a training run, `models:/NAME@ALIAS`, or the URI of a model's
    folder; None starts with new weights."""

    @model_validator(mode="after")
    def _changes_are_accepted(self) -> Self:
        self.scaling  # noqa: B018  lays the changes over what they may meet, so that a typo is refused here
        return self

    @property
    def scaling(self) -> ScalingConfig:
        """Workers of the job, which do not depend on the dataset."""
        if self.config is None:
            return suiting.first_fitting(self.changes, self.preset).scaling
        return override(self.config, self.changes, "changes").scaling

    def config_for(self, base: RunConfig) -> RunConfig:
        """Returns the configuration to train: the request's, or a base that suits the dataset, with the changes."""
        if self.config is not None:
            return override(self.config, self.changes, "changes")
        return override(base, self.changes, "changes to the default for this dataset")


class Choice(Result):
    """Default configuration that a run chose because its request names none."""

    preset: str
    """Name of the preset."""
    changes: dict[str, Any]
    """Dotted fields and their values, laid over the preset."""
    why: str
    """Clause about the dataset that gives the reason; empty for a requested preset that fits without changes."""
    sentence: str
    """The choice and its reason in one sentence."""


class TrainedModel(Result):
    """A trained model with the facts of its run that a promotion needs."""

    run: str
    """Name of the run."""
    mlflow_run_id: str
    """Id of the run in MLflow."""
    dataset: str
    """URI of the dataset's folder."""
    dataset_id: str
    """Content address of the dataset."""
    config: RunConfig
    """Configuration that was trained."""
    train_seconds: float
    """Duration of the training in seconds."""
    model: str
    """URI of the model's folder: weights and configuration."""
    history: tuple[EpochReport, ...]
    """Figures of each epoch."""


class JudgedModel(TrainedModel):
    """A trained model with the verdict that its training ended with."""

    findings: tuple[Finding, ...]
    """Findings of the verdict."""


class DivergedTraining(TrainedModel):
    """Model and facts that a training left behind when it diverged."""

    diverged: str
    """Error message of the training."""
    advice: str
    """Flags of `betaline train` that train on more slowly."""


class TrainResult(TrainedModel, Judged):
    """A finished training."""

    best: EpochReport
    """Figures of the epoch whose weights the model has."""
    resumed_from_step: int
    """Optimiser step from which the last attempt resumed; 0 for a run that was never resumed."""
    chosen: Choice | None = None
    """Default configuration that was chosen; None if the request names a configuration."""
    promotion: PromoteResult | PendingPromotion | None = Field(default=None, exclude_if=is_absent)
    """Promotion that followed; None if the request names no alias."""
