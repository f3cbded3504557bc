"""The flow that searches a space of configurations."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from prefect.artifacts import create_table_artifact

from pipelines.cluster.needs import check_search
from pipelines.flows.job_events import linked_report
from pipelines.flows.promote import promote_if_asked
from pipelines.flows.ray_job import folder_of, home, own_identity, ray_job, stage
from pipelines.stages.tune import TuneRequest, TuneResult


@stage
def tune(request: TuneRequest, run: str | None = None) -> TuneResult:
    """Searches a space of configurations and returns the best.

    Args:
        request: What to search, on which dataset; and the alias that the best model may take afterwards.
        run: Name of the search; the same name resumes an earlier search. None derives a new name.
    """
    identity = own_identity("tune", run)
    asked = request.model_dump(mode="json", exclude={"alias", "approve", "exact"})
    with linked_report("tune", folder_of(identity)) as report:
        result = ray_job("tune", asked, identity, TuneResult, partial(check_search, request, home()))
    rows = [asdict(trial) for trial in result.trials]
    create_table_artifact(
        table=[{**row.pop("parameters"), **row} for row in rows],
        key="search",
        description=f"Search for {request.name}: chosen {result.best.trial_id}",
    )
    promotion = promote_if_asked(request, identity)
    return result.model_copy(update={"report_url": report.url, "promotion": promotion})
