"""Report: the report of a run, drawn if the run has left none."""

from __future__ import annotations

from pydantic import Field

from pipelines.stages.fields import Name, Result, is_absent
from vae.config import Section


class ReportRequest(Section):
    """Draw the report of a training or a search that has none because it still runs, was stopped, or was killed."""

    run: Name
    """Name of the run."""


class ReportResult(Result):
    """Report of a run."""

    run: str
    """Name of the run."""
    report: str | None = Field(default=None, exclude_if=is_absent)
    """URI of the drawn report in MLflow; None if the run had one."""
    drawn: bool = True
    """Whether the report was drawn now."""
    report_url: str | None = None
    """Address of the report in a browser."""
