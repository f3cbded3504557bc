"""What a flow is asked to do: one pydantic model for each, which is also its form in Prefect's UI and its job's JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from pipelines.data.sources import IngestConfig
from tuning.space import SearchConfig, around
from vae.config import MetricFamily, Positive, RunConfig, ScalingConfig, Section, TrainingConfig, override, suiting
from vae.data.manifest import SplitName

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]

Projection = Literal["pca", "umap"]
"""How a report lays out a latent of many dimensions in the plane."""

__all__ = [
    "ApplyRequest",
    "DriftRequest",
    "IngestConfig",
    "PipelineRequest",
    "Projection",
    "PromoteRequest",
    "ReportRequest",
    "TrainRequest",
    "TuneRequest",
]


class TrainRequest(Section):
    """Train one configuration on one dataset."""

    dataset: str
    """NAME, NAME@ID, or the URI of a dataset's folder."""
    name: Name
    """Of the model; the MLflow experiment is called so too."""
    config: RunConfig | None = None
    """What to train; None takes the preset."""
    preset: str | None = None
    """Preset to train, fitted to the dataset; None takes one that suits the dataset: see `vae.config.suiting`."""
    changes: dict[str, Any] = Field(default={})
    """Dotted fields to values, laid over the configuration: {"objective.beta": 4.0}."""
    alias: Name | None = None
    """The alias that the trained model may take, such as champion; None registers nothing."""
    approve: bool = False
    """Whether a person decides on the alias."""
    start_from: Name | None = None
    """The training run whose model's weights this one starts from; None starts anew."""
    projection: Projection = "pca"
    """Of the report's latent scatter; `umap` needs the extra `report-umap`."""

    @model_validator(mode="after")
    def _changes_are_accepted(self) -> Self:
        self.scaling  # noqa: B018  lays the changes over what they may meet, so that a typo is refused here
        return self

    @property
    def scaling(self) -> ScalingConfig:
        """Workers of the job, which no dataset changes."""
        if self.config is None:
            return suiting.first_fitting(self.changes, self.preset).scaling
        return override(self.config, self.changes, "changes").scaling

    def config_for(self, base: RunConfig) -> RunConfig:
        """Returns what to train, with the changes laid over the configuration, or over a base that suits the dataset."""
        if self.config is not None:
            return override(self.config, self.changes, "changes")
        return override(base, self.changes, "changes to the default for this dataset")


BASE = "base."
"""Prefix of the fields of a search's base configuration."""


class TuneRequest(Section):
    """Search a space of configurations on one dataset."""

    dataset: str
    """NAME, NAME@ID, or the URI of a dataset's folder."""
    name: Name
    """Of the model; the MLflow experiment is called so too."""
    search: SearchConfig | None = None
    """What to search; None searches around the preset."""
    preset: str | None = None
    """Preset to search around, fitted to the dataset; None takes one that suits the dataset: see `vae.config.suiting`."""
    changes: dict[str, Any] = Field(default={})
    """Dotted fields to values, laid over the search: {"base.training.epochs": 20}."""
    alias: Name | None = None
    """The alias that the best model may take, such as champion; None registers nothing."""
    approve: bool = False
    """Whether a person decides on the alias."""
    projection: Projection = "pca"
    """Of the report's latent scatter; `umap` needs the extra `report-umap`."""

    @model_validator(mode="after")
    def _changes_are_accepted(self) -> Self:
        self.search_around(suiting.first_fitting({} if self.search else self._base_changes(), self.preset))
        return self

    def search_around(self, base: RunConfig) -> SearchConfig:
        """Returns what to search, with the changes laid over it; around a base that suits the dataset if none is named."""
        if self.search is not None:
            return override(self.search, self.changes, "changes")
        further = {name: value for name, value in self.changes.items() if not name.startswith(BASE)}
        return override(
            around(override(base, self._base_changes(), "changes to the default for this dataset")), further, "changes"
        )

    def _base_changes(self) -> dict[str, Any]:
        return {name.removeprefix(BASE): value for name, value in self.changes.items() if name.startswith(BASE)}


Bar = Annotated[str, StringConstraints(pattern=r"^[\w.]+ *(<=|>=) *-?\d+(\.\d+)?$")]
"""A metric, `<=` or `>=`, and a number."""


class PromoteRequest(Section):
    """Evaluate a trained run on the test split, register it, and let it become the champion if it is better."""

    run: Name
    """The training run, as `betaline train` printed it; or a search, for its best model so far."""
    name: Name
    """Registered model to become a version of."""
    search: Name | None = None
    """The search that chose the configuration, for the report."""
    alias: Name = "champion"
    threshold_nats: float | None = None
    """The negative log-likelihood on the test split must not be above this, in nats per example; None sets no bar."""
    num_samples: Positive = 200
    """Importance samples per example."""
    metrics: tuple[MetricFamily, ...] = ()
    """What is measured on the test split, and logged with the run, beside the uses that the model was trained for: see
    `vae.metrics.suite`."""
    require: tuple[Bar, ...] = ()
    """What the metrics on the test split must come to, such as `denoise_psnr_db >= 20`, or the alias stays."""
    accept: tuple[Name, ...] = ()
    """Findings with which the model may take the alias all the same, such as `collapsed` or `diverged`."""
    approve: bool = False
    """Whether a person decides, where the gate would let the model pass. The flow run waits for one without a process."""
    projection: Projection = "pca"
    """Of the report's latent scatter; `umap` needs the extra `report-umap`."""


class ApplyRequest(Section):
    """Run one task of a registered model over a whole dataset."""

    task: str
    """One that the model serves, or `augment`."""
    model: str
    """NAME (its champion), NAME@ALIAS, NAME/VERSION, or one of them behind models:/."""
    dataset: str
    """NAME, NAME@ID, or the URI of a dataset's folder; for `decode` the folder that `encode` wrote."""
    output: str | None = None
    """The folder to write; None is HOME/applied/TASK-ID, where ID derives from all that the result depends on."""
    splits: tuple[SplitName, ...] | None = None
    """Of the dataset; None is all it has."""
    params: dict[str, str | bool | int | float | tuple[str | float, ...]] = Field(default={})
    """Of the task, as `predict` takes them; `seed` among them. Text is read by the parameter's type."""
    workers: Positive | None = None
    """Models held at once, at most; None is one for each GPU of the cluster, or for each of its CPUs but one."""


class DriftRequest(Section):
    """Compare fresh data with what a registered model was trained on."""

    name: Name
    """Of the registered model."""
    dataset: str
    """NAME (the newest), NAME@ID, or the URI of a dataset's folder."""
    alias: Name = "champion"
    max_rows: Positive = 2000
    """Of the dataset, at most."""


class ReportRequest(Section):
    """Draw the report of a training or a search that has left none: that runs, was stopped, or was killed."""

    run: Name


class PipelineRequest(Section):
    """Ingest, search, train the best, promote."""

    ingest: IngestConfig
    search: SearchConfig | None = None
    """What to search; None searches around a preset that suits the dataset: see `vae.config.suiting`."""
    training: TrainingConfig | None = None
    """How the selected model is trained in the end; None trains it as the trials were."""
    scaling: ScalingConfig = ScalingConfig()
    """Workers of the final training."""
    alias: Name = "champion"
    threshold_nats: float | None = None
    """See `PromoteRequest`."""
    num_samples: Positive = 200
    """Importance samples per example."""
    approve: bool = False
    """See `PromoteRequest`; the promotion is then a flow run of its own, which waits."""

    @model_validator(mode="after")
    def _final_training_fits(self) -> Self:
        if self.search is not None:
            self.final(self.search.base)  # refuses a batch that does not divide among the workers
        return self

    def final(self, base: RunConfig) -> RunConfig:
        """Returns what the selected configuration is trained as, but for what the search around a base selects."""
        return RunConfig(
            data=base.data,
            model=base.model,
            objective=base.objective,
            training=self.training or base.training,
            scaling=self.scaling,
        )
