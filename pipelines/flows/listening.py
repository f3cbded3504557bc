"""Who hears what jobs tell while flows run: the command that runs them, and Prefect's artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prefect.artifacts import create_link_artifact
from prefect.events.worker import EventsWorker
from prefect.logging import get_logger
from prefect.logging.handlers import APILogHandler

from pipelines.cluster.runs import REPORT, Event, RunFolder
from pipelines.flows.progress_bar import ProgressBar
from pipelines.models import tracking

Listener = Callable[[str, Event], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def tell(kind: str, event: Event) -> None:
    """Hands an event of a job of some kind to whoever listens."""
    if (listener := _listener.get()) is not None:
        listener(kind, event)


@contextmanager
def session(listener: Listener) -> Iterator[None]:
    """Runs flows in this process: hands their jobs' events to a listener, with the kind of job.

    On leaving, sends the logs and events that Prefect still holds, which it would otherwise try at exit, when an embedded
    server is gone, for a minute.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
        APILogHandler().flush()
        EventsWorker.drain_all(timeout=5)


@contextmanager
def progress(description: str) -> Iterator[None]:
    """A progress artifact that follows the search inside the block, and is at 100 after it."""
    bar, outer = ProgressBar(description), _listener.get()

    def listen(kind: str, event: Event) -> None:
        bar.on_event(event)
        if outer:
            outer(kind, event)

    token = _listener.set(listen)
    try:
        yield
    finally:
        _listener.reset(token)
    bar.show(100.0)


class Reported:
    """Where a browser shows the report of a job that has ended."""

    url: str | None = None
    """None where it left none."""


@contextmanager
def reported(kind: str, folder: RunFolder) -> Iterator[Reported]:
    """Links the report that the job inside the block leaves, also where it fails, and tells whoever listens of it."""
    found = Reported()
    try:
        yield found
    except Exception:
        _link(kind, folder, found)
        raise
    _link(kind, folder, found)


def _link(kind: str, folder: RunFolder, found: Reported) -> None:
    found.url = report_url(folder)
    if found.url is not None:
        create_link_artifact(link=found.url, link_text="Report and plots", key="report")
        tell(kind, Event(kind="report", fields={"url": found.url}))


def report_url(folder: RunFolder) -> str | None:
    """Where a browser shows the report that a run's last attempt has left; None where there is none.

    A report that cannot be found hides neither a result nor an error.
    """
    try:
        where = folder.read(REPORT)
    except OSError as error:
        get_logger("betaline").warning("the report of %s is not linked: %s", folder.uri, error)
        return None
    return None if where is None else tracking.artifact_url(where["experiment_id"], where["run_id"], where["path"])
