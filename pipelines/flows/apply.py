"""The flow that runs a task of a registered model over a whole dataset."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact

from pipelines.flows.ray_job import own_identity, ray_job, stage
from pipelines.stages.apply import ApplyRequest, ApplyResult


@stage
def apply(request: ApplyRequest, run: str | None = None) -> ApplyResult:
    """Runs one task of a registered model over a whole dataset.

    Args:
        request: Task, model and dataset.
        run: Name of the run; the same name resumes an earlier run. None derives a new name.
    """
    result = ray_job("apply", request.model_dump(mode="json"), own_identity("apply", run), ApplyResult)
    provenance = result.provenance
    create_markdown_artifact(
        f"**{request.task}** by **{provenance.model}** version {provenance.version}: {sum(result.rows.values()):,} rows."
        f"\n\n`{result.uri}`",
        key="applied",
        description=f"{request.task} over {provenance.dataset}",
    )
    return result
