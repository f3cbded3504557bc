"""Delivery of jobs' events while flows run: to the command that runs them, and to Prefect's artifacts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_progress_artifact, update_progress_artifact
from prefect.events.worker import EventsWorker
from prefect.logging import get_logger
from prefect.logging.handlers import APILogHandler

from pipelines.cluster.runs import REPORT, Event, RunFolder
from pipelines.flows.search_progress import SearchProgress
from pipelines.models import tracking

Listener = Callable[[str, Event], None]
"""Function that takes the kind of a job and an event of it."""

PROGRESS_SECONDS = 2.0
"""Minimum seconds between progress updates sent to Prefect."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def tell(kind: str, event: Event) -> None:
    """Hands an event of a job to the current listener."""
    if (listener := _listener.get()) is not None:
        listener(kind, event)


@contextmanager
def _listening(listener: Listener) -> Iterator[None]:
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def session(listener: Listener) -> Iterator[None]:
    """Runs flows in this process and hands their jobs' events to a listener.

    On leaving, sends the logs and events that Prefect still holds. Prefect would otherwise try to send them at exit, for a
    minute, when an embedded server is gone.
    """
    try:
        with _listening(listener):
            yield
    finally:
        APILogHandler().flush()
        EventsWorker.drain_all(timeout=5)


class ProgressBar:
    """A progress artifact of Prefect that follows a search's events; a refusal by Prefect is logged once."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.search = SearchProgress()
        self.artifact: UUID | None = None
        self.shown_at = time.monotonic()
        self.has_complained = False
        self.show(0.0)

    def on_event(self, event: Event) -> None:
        """Takes in an event and, once every `PROGRESS_SECONDS`, updates the artifact."""
        self.search.take(event)
        if time.monotonic() - self.shown_at >= PROGRESS_SECONDS:
            self.show(100 * self.search.share)

    def show(self, percent: float) -> None:
        """Sets the artifact to a percentage."""
        try:
            if self.artifact is None:
                # The stub also allows a coroutine, which only asynchronous callers get.
                self.artifact = cast(UUID, create_progress_artifact(percent, "search-progress", self.description))
            else:
                update_progress_artifact(self.artifact, percent)
        except Exception as error:  # any refusal by Prefect's API: the search goes on without the artifact
            if not self.has_complained:
                get_run_logger().warning("Prefect refused the progress of the search: %s", error)
            self.has_complained = True
        self.shown_at = time.monotonic()


@contextmanager
def progress_bar(description: str) -> Iterator[None]:
    """Shows a progress artifact that follows the search inside the block and is at 100 after it."""
    bar, outer = ProgressBar(description), _listener.get()

    def listen(kind: str, event: Event) -> None:
        bar.on_event(event)
        if outer:
            outer(kind, event)

    with _listening(listen):
        yield
    bar.show(100.0)


class ReportLink:
    """Link to the report of a job that has ended."""

    url: str | None = None
    """Address in a browser; None if the job left no report."""


@contextmanager
def linked_report(kind: str, folder: RunFolder) -> Iterator[ReportLink]:
    """Links the report that the job inside the block leaves in Prefect, and tells the listener; also when the job fails."""
    link = ReportLink()
    try:
        yield link
    except Exception:
        _link(kind, folder, link)
        raise
    _link(kind, folder, link)


def _link(kind: str, folder: RunFolder, link: ReportLink) -> None:
    link.url = report_url(folder)
    if link.url is not None:
        create_link_artifact(link=link.url, link_text="Report and plots", key="report")
        tell(kind, Event(kind="report", fields={"url": link.url}))


def report_url(folder: RunFolder) -> str | None:
    """Returns the address in a browser of the report that a run's last attempt left; None if it left none.

    Storage that does not answer hides neither a result nor an error.
    """
    try:
        where = folder.read(REPORT)
    except OSError as error:
        get_logger("betaline").warning("the report of %s is not linked: %s", folder.uri, error)
        return None
    return None if where is None else tracking.artifact_url(where["experiment_id"], where["run_id"], where["path"])
