"""The flow that finds the report of a run, or draws it."""

from __future__ import annotations

from pipelines.flows.job_events import linked_report, report_url
from pipelines.flows.ray_job import folder_of, own_identity, ray_job, stage
from pipelines.stages.report import ReportRequest, ReportResult


@stage
def report(request: ReportRequest, run: str | None = None) -> ReportResult:
    """Finds the report of a run; draws the report of a training or a search that has none.

    Args:
        request: Which run.
        run: Name of this run; the same name returns an earlier result. None derives a new name.
    """
    if (url := report_url(folder_of(request.run))) is not None:
        return ReportResult(run=request.run, drawn=False, report_url=url)
    identity = own_identity("report", run)
    with linked_report("report", folder_of(identity)) as link:
        result = ray_job("report", request.model_dump(mode="json"), identity, ReportResult)
    return result.model_copy(update={"report_url": link.url})
