"""What a flow is asked to do: one pydantic model for each, which is also its form in Prefect's UI and its job's JSON."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from pipelines.sources import IngestConfig
from tuning.space import SearchConfig
from vae.config import MetricFamily, Positive, RunConfig, ScalingConfig, Section, TrainingConfig
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
    config: RunConfig = RunConfig()
    alias: Name | None = None
    """The alias that the trained model may take, such as champion; None registers nothing."""
    approve: bool = False
    """Whether a person decides on the alias."""
    start_from: Name | None = None
    """The training run whose model's weights this one starts from; None starts anew."""
    projection: Projection = "pca"
    """Of the report's latent scatter; `umap` needs the extra `report-umap`."""


class TuneRequest(Section):
    """Search a space of configurations on one dataset."""

    dataset: str
    """NAME, NAME@ID, or the URI of a dataset's folder."""
    name: Name
    """Of the model; the MLflow experiment is called so too."""
    search: SearchConfig = SearchConfig()
    projection: Projection = "pca"
    """Of the report's latent scatter; `umap` needs the extra `report-umap`."""


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
    search: SearchConfig = SearchConfig()
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
        self.final  # noqa: B018  builds it, so that a batch that does not divide among the workers is refused here
        return self

    @property
    def final(self) -> RunConfig:
        """What the selected configuration is trained as, but for what the search selects."""
        base = self.search.base
        return RunConfig(
            data=base.data,
            model=base.model,
            objective=base.objective,
            training=self.training or base.training,
            scaling=self.scaling,
        )
