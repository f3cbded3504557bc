"""Promote: a trained run is evaluated, registered, and takes an alias if it is better."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from pipelines.models.versions import Comparison, Score, Version
from pipelines.stages.fields import Name, Projection, Result
from vae.config import MetricFamily, Positive, Section
from vae.training.verdict import Finding

Bar = Annotated[str, StringConstraints(pattern=r"^[\w.]+ *(<=|>=) *-?\d+(\.\d+)?$")]
"""Condition on a metric: its name, `<=` or `>=`, and a number."""


class Promotion(Section):
    """Fields that the requests of a promotion and of the pipeline share."""

    alias: Name = "champion"
    """Alias that the version may take."""
    threshold_nats: float | None = None
    """Largest negative log-likelihood on the test split, in nats per example, with which the alias may move; None sets no
    limit."""
    num_samples: Positive = 200
    """Importance samples per example of the test split."""
    exact: bool = False
    """Whether all rows of the test split are scored. By default candidate and champion are compared on as many of its first
    rows as the decision needs."""
    approve: bool = False
    """Whether a person decides on a model that passes the gate. The flow run waits for the decision without a process."""


class PromoteRequest(Promotion):
    """Evaluate a trained run on the test split, register it, and let it become the champion if it is better."""

    run: Name
    """Training run to promote, as `betaline train` printed it; or a search, for its best model so far."""
    name: Name
    """Registered model that gets a new version."""
    search: Name | None = None
    """Search that chose the configuration, shown in the report; None shows no search."""
    metrics: tuple[MetricFamily, ...] = ()
    """Metrics to measure on the test split beside those of the tasks that the model was trained for: see
    `vae.metrics.suite`."""
    require: tuple[Bar, ...] = ()
    """Conditions that the metrics on the test split must meet, such as `denoise_psnr_db >= 20`, before the alias moves."""
    accept: tuple[Name, ...] = ()
    """Findings that do not keep the model from taking the alias, such as `collapsed` or `diverged`."""
    projection: Projection = "pca"
    """Layout of the report's latent scatter plot: principal components, or `umap` (needs the extra `report-umap`)."""


class Judged(Result):
    """Verdict on a training run, and its report."""

    verdict: str
    """`sound`, or the names of the findings."""
    findings: tuple[Finding, ...]
    """Findings that the verdict names."""
    report: str | None
    """URI of the report in MLflow; None if the report could not be drawn."""
    report_url: str | None = None
    """Address of the report in a browser; None if there is no report."""


class Evaluation(Judged):
    """A registered version and everything that the gate decides by."""

    version: Version
    """Version that was registered."""
    score: Score
    """Score of the version on the test split."""
    champion: Version | None
    """Version that held the alias; None if none did."""
    champion_score: Score | None
    """Score of that version on the same rows; its score at registration if it cannot be compared, None if it has none."""
    comparison: Comparison | None
    """Difference of the two scores, row by row; None if there is nothing to compare with."""
    metrics: dict[str, float]
    """Metrics on the test split, by their names in MLflow."""
    mlflow_run_id: str
    """Id of the training run in MLflow."""
    experiment_id: str
    """Id of the run's experiment in MLflow."""
    threshold_nats: float | None
    """Largest accepted negative log-likelihood, in nats per example; None sets no limit."""
    require: tuple[str, ...]
    """Conditions on the metrics."""
    accept: tuple[str, ...]
    """Accepted findings."""
    alias: str
    """Alias that the version may take."""


class PromoteResult(Evaluation):
    """An evaluation and the decision on the alias."""

    promoted: bool
    """Whether the version has the alias."""
    reason: str
    """Reason of the decision."""


class PendingPromotion(Result):
    """A promotion that runs as a flow run of its own, because a person decides."""

    promoted: Literal[False] = False
    reason: str
    """Command by which the person decides."""
    flow_run: str
    """Name of the flow run."""
    report_url: None = None
    """The waiting flow run links the report itself."""
