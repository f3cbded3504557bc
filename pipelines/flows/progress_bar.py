"""How far a search is, in Prefect's UI."""

from __future__ import annotations

import time
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pipelines.cluster.runs import Event
from pipelines.flows.progress import SearchProgress

PROGRESS_SECONDS = 2.0
"""At most so often is Prefect told."""


class ProgressBar:
    """An artifact that follows a search's events. A search never fails for it."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.search = SearchProgress()
        self.artifact: UUID | None = None
        self.shown_at = time.monotonic()
        self.has_complained = False
        self.show(0.0)

    def on_event(self, event: Event) -> None:
        self.search.take(event)
        if time.monotonic() - self.shown_at >= PROGRESS_SECONDS:
            self.show(100 * self.search.share)

    def show(self, percent: float) -> None:
        try:
            if self.artifact is None:
                # A flow here is synchronous, and so is the call.
                self.artifact = cast(UUID, create_progress_artifact(percent, "search-progress", self.description))
            else:
                update_progress_artifact(self.artifact, percent)
        except Exception as error:  # whatever Prefect's API refuses: the search itself needs none of it
            if not self.has_complained:
                get_run_logger().warning("Prefect cannot be told how far the search is: %s", error)
            self.has_complained = True
        self.shown_at = time.monotonic()
