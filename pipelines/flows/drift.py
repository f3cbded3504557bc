"""The flow that compares fresh data with the data that a registered model was trained on."""

from __future__ import annotations

from prefect.artifacts import create_table_artifact

from pipelines.flows.ray_job import own_identity, ray_job, stage
from pipelines.operating.triggers import TRIGGERS
from pipelines.stages.drift import DriftRequest, DriftResult


@stage
def drift(request: DriftRequest, run: str | None = None) -> DriftResult:
    """Compares fresh data with the data that a registered model was trained on, and emits an event if they differ.

    Args:
        request: Which model, which data.
        run: Name of the run; the same name returns an earlier result. None derives a new name.
    """
    result = ray_job("drift", request.model_dump(mode="json"), own_identity("drift", run), DriftResult)
    facts = result.model_dump(mode="json")
    create_table_artifact(
        table=facts["findings"],
        key="drift",
        description=f"{result.num_examples:,} rows of {request.dataset} and version {result.version} of {request.name}: "
        f"{'drifted' if result.drifted else 'no drift'}",
    )
    if result.drifted:
        TRIGGERS["drift"].emit(request.name, facts)
    return result
