"""Delivery of jobs' events while flows run: to the command that runs them, and to Prefect's artifacts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_progress_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.events.worker import EventsWorker
from prefect.logging import get_logger
from prefect.logging.handlers import APILogHandler

from pipelines.cluster.progress import Meter, clock
from pipelines.cluster.runs import REPORT, Event, RunFolder, position_of
from pipelines.models import tracking
from vae.progress import Progress, every

Listener = Callable[[str, Event], None]
"""Function that takes the kind of a job and an event of it."""

PROGRESS_SECONDS, HEARTBEAT_SECONDS = 2.0, 10.0
"""Minimum seconds between progress updates sent to Prefect, and the most without one."""

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


class ProgressArtifact:
    """A progress artifact of Prefect that follows a job's events; a refusal by Prefect is logged once.

    Its percentage is of the part that its description names.
    """

    def __init__(self, stage: str, identity: str) -> None:
        self.stage, self.identity = stage, identity
        self.meter = Meter()
        self.client: SyncPrefectClient | None = None
        self.artifact: UUID | None = None
        self.shown_at, self.shown = -math.inf, Progress(part="")
        self.has_complained = False
        self.update()

    def take(self, event: Event) -> None:
        """Takes in an event of the job."""
        if (position := position_of(event)) is not None:
            self.meter.take(position)

    def update(self) -> None:
        """Updates the artifact if there is news, and otherwise says every `HEARTBEAT_SECONDS` since when it waits."""
        if self.meter.latest is not self.shown or time.monotonic() - self.shown_at >= HEARTBEAT_SECONDS:
            self.shown = self.meter.latest
            self.show(self.meter.share or 0.0, self.meter.words())

    def show(self, share: float, words: str) -> None:
        """Sets the artifact to a share of the part and to a description."""
        description = f"{self.stage} {self.identity}: {words}"
        try:
            if self.artifact is None:
                # The stub also allows a coroutine, which only asynchronous callers get.
                created = create_progress_artifact(100 * share, f"{self.stage}-progress", description)
                self.artifact = cast(UUID, created)
            else:
                # Not Prefect's own function, which makes a client for each update.
                self.client = self.client or get_client(sync_client=True)
                self.client.update_artifact(self.artifact, ArtifactUpdate(data=100 * share, description=description))
        except Exception as error:  # any refusal by Prefect's API: the job goes on without the artifact
            if not self.has_complained:
                get_run_logger().warning("Prefect refused the progress of %s: %s", self.identity, error)
            self.has_complained = True
        self.shown_at = time.monotonic()


@contextmanager
def shown_progress(stage: str, identity: str) -> Iterator[Callable[[Event], None]]:
    """Shows a progress artifact during the block; yields a function that hands events to it and to the listener."""
    shown = ProgressArtifact(stage, identity)

    def take(event: Event) -> None:
        shown.take(event)
        tell(stage, event)

    take(Event(kind="progress", fields={"part": "waiting for the cluster to start the job"}))
    try:
        with every(PROGRESS_SECONDS, shown.update):
            yield take
    except BaseException:
        shown.show(shown.meter.share or 0.0, f"ended after {clock(shown.meter.seconds)} at: {shown.meter.words()}")
        raise
    shown.show(1.0, f"done in {clock(shown.meter.seconds)}")


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
