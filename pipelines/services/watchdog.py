"""A watch over an embedded Prefect server, whose clients would try for many minutes to reach one that has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.services.commands import betaline
from pipelines.services.embedded import Services, read
from pipelines.services.process import Process, find
from vae.errors import ServiceError

PATIENCE_SECONDS = 30.0
"""Seconds that Prefect may be away, as between `betaline down` and `betaline up`."""


@contextmanager
def watched(services: Services, on_loss: Callable[[ServiceError], object]) -> Iterator[None]:
    """Watches the embedded Prefect server while the block runs; does nothing for a server elsewhere.

    Args:
        services: The services in use.
        on_loss: Called in the thread of the watch, once, when the server has been away for `PATIENCE_SECONDS`.
    """
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(services, over, on_loss), name="watchdog", daemon=True)
    if services.is_embedded("prefect"):
        watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(services: Services, over: threading.Event, on_loss: Callable[[ServiceError], object]) -> None:
    seen = time.monotonic()
    while not over.wait(1.0):
        ended = _ended(services)
        if not any(process.name == "prefect" for process in ended):
            seen = time.monotonic()
        elif time.monotonic() - seen >= PATIENCE_SECONDS:
            on_loss(_loss(services, ended))
            return


def _ended(services: Services) -> list[Process]:
    """Returns the services that have ended, unless others listen at the same addresses for the same home by now."""
    present = services.processes
    with suppress(ServiceError):
        recorded = read(Path(services.home))
        if recorded is not None and recorded.prefect_api_url == services.prefect_api_url:
            present += recorded.processes
    alive = {process.name for process in present if find(process) is not None}
    return [process for process in services.processes if process.name not in alive]


def _loss(services: Services, ended: list[Process]) -> ServiceError:
    names, logs = (", ".join(words) for words in zip(*((one.name, one.log) for one in ended), strict=True))
    return ServiceError(
        f"services of {services.home} ended while this command used them, and did not come back within "
        f"{PATIENCE_SECONDS:.0f} s: {names}. Start them with {betaline('up', services.home)}; the same command with "
        f"--run and the run's name then goes on from the last checkpoint. Logs: {logs}"
    )
