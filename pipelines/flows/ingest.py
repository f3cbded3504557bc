"""Flows that turn a source into a dataset: once, or whenever the source has changed."""

from __future__ import annotations

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from pipelines.data.ingest.watching import Watch
from pipelines.flows.ray_job import home, own_identity, ray_job, stage
from pipelines.operating.triggers import TRIGGERS
from pipelines.stages.ingest import IngestConfig, IngestResult, WatchResult
from vae.errors import ConfigError, DataError


@stage
def ingest(request: IngestConfig, run: str | None = None) -> IngestResult:
    """Turns a source into a content-addressed Parquet dataset.

    Args:
        request: What to ingest, and how.
        run: Name of the run; the same name resumes an earlier run. None derives a new name.
    """
    request = request.absolute()
    dataset = ray_job("ingest", request.model_dump(mode="json"), own_identity("ingest", run), IngestResult)
    rows = ", ".join(f"{count:,} {split}" for split, count in dataset.rows.items())
    verb = "exists already" if dataset.reused else "was written"
    create_markdown_artifact(
        f"Dataset **{dataset.name}** `{dataset.dataset_id[:12]}` {verb}: {rows}.\n\n`{dataset.uri}`",
        key="dataset",
        description=f"Dataset {dataset.name}",
    )
    if not dataset.reused:
        facts = {"dataset_id": dataset.dataset_id, "uri": dataset.uri, "rows": dataset.rows}
        TRIGGERS["data"].emit(dataset.name, facts)
    return dataset


@stage
def watch(request: IngestConfig) -> WatchResult:
    """Ingests a source that has changed and come to rest; made to run every few minutes.

    Args:
        request: What to watch and ingest: a file, a folder, or a prefix of a bucket.
    """
    request = request.absolute()
    watched = Watch(home(), request.name, request.source)
    step, fingerprint = watched.look()
    get_run_logger().info("%s is %s", request.source, step)
    if step != "ready":
        return WatchResult(source=request.source, step=step)
    try:
        dataset = ingest(request, run=f"{own_identity('watch', None)}-ingest")  # a name that `stop_jobs` covers
    except (ConfigError, DataError):
        watched.done(fingerprint)  # or it would be refused again every few minutes
        raise
    watched.done(fingerprint)
    return WatchResult(source=request.source, step="ingested", dataset=dataset)
