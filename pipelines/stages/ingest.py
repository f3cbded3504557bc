"""Ingest: a source becomes a content-addressed Parquet dataset. The request is `IngestConfig`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.data.ingest import IngestResult
from pipelines.data.sources import IngestConfig
from pipelines.stages.fields import Result, is_absent

__all__ = ["IngestConfig", "IngestResult", "WatchResult"]


class WatchResult(Result):
    """Outcome of one look at a watched source."""

    source: str
    """Path or URI of the source."""
    step: Literal["unchanged", "changing", "ready", "ingested"]
    """`ingested`, or the reason why nothing was ingested."""
    dataset: IngestResult | None = Field(default=None, exclude_if=is_absent)
    """Ingested dataset; None if nothing was ingested."""
