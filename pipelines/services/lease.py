"""Use of services for a while: running ones, those of the environment, or ones that end with their last user."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from pipelines.services.commands import NAMES
from pipelines.services.embedded import (
    VARIABLES,
    Progress,
    Services,
    attach,
    local_home,
    locked,
    made_home,
    read,
    restart_leash,
    start,
    stop_locked,
)
from pipelines.services.process import end

LEASE_FILE = "services.lease"


@contextmanager
def connect(
    home: str | Path,
    *,
    on_progress: Progress | None = None,
    num_cpus: int | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> Iterator[Services]:
    """Yields the services of a home, with this process's environment set up for their clients while the block runs.

    PREFECT_API_URL, MLFLOW_TRACKING_URI and RAY_ADDRESS each replace the embedded service of that kind. The others are
    used if they run; if not they are started, and end with the last process that uses them, even if that is killed.
    `meanwhile` is called in a thread while they start; it has returned when the block begins.

    Raises:
        ServiceError: If an embedded service is needed and does not start.
    """
    external = servers_of_environment(home)
    needed = tuple(name for name in NAMES if name not in external)
    if not needed:
        nowhere = Services(home=str(home), prefect_url="", prefect_api_url="", mlflow_url="", ray_address="")
        with exported(_replaced(nowhere, external)) as services:
            yield services
        return
    folder = made_home(home)
    with _leased(folder):
        with ThreadPoolExecutor(1) as thread:
            prepared = thread.submit(meanwhile)
            services = start(folder, on_progress=on_progress, lasting=False, names=needed, num_cpus=num_cpus)
        prepared.result()
        with exported(_replaced(services, external)) as services:
            yield services


def servers_of_environment(home: str | Path) -> dict[str, str]:
    """Returns the addresses that PREFECT_API_URL, MLFLOW_TRACKING_URI and RAY_ADDRESS name, but for a home's own services.

    Raises:
        ServiceError: If an embedded service is needed, and the home is a URI of another filesystem.
    """
    external = {name: os.environ[variable] for name, variable in VARIABLES.items() if os.environ.get(variable)}
    if len(external) == len(NAMES) and "://" in str(home):
        return external
    running = attach(local_home(home))
    # The environment may name the embedded ones: it was set up for their clients.
    ours = {name: url for name, url in running.addresses.items() if running.is_embedded(name)} if running else {}
    return {name: url for name, url in external.items() if url != ours.get(name)}


@contextmanager
def exported(services: Services) -> Iterator[Services]:
    """Sets this process's environment up for the services' clients while the block runs, and restores it afterwards."""
    values: dict[str, str | None] = {**services.environment()}
    if services.is_embedded("ray"):
        values["RAY_AUTH_TOKEN"] = None  # belongs to another cluster; Ray would prefer it to the file
    with variables(values):
        yield services


@contextmanager
def variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """Sets variables of this process's environment while the block runs, and restores them; None removes one."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    """Sets variables of this process's environment; None removes one."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _refresh_prefect()


def _refresh_prefect() -> None:
    """Makes Prefect, if it is imported, read the environment again, which it does only once by itself."""
    if "prefect.context" in sys.modules:
        sys.modules["prefect.context"].refresh_global_settings_context()


def _replaced(services: Services, external: dict[str, str]) -> Services:
    """Returns the services with the addresses of external ones in place of the embedded ones."""
    addresses = services.addresses | external
    api_url = addresses["prefect"].rstrip("/")
    return replace(
        services,
        prefect_url=api_url.removesuffix("/api"),
        prefect_api_url=api_url,
        mlflow_url=addresses["mlflow"],
        ray_address=addresses["ray"].rstrip("/"),
        processes=tuple(process for process in services.processes if process.name not in external),
    )


@contextmanager
def _leased(folder: Path) -> Iterator[None]:
    """Holds a lease of the home's services while the block runs. The kernel ends it with the process, however that ends."""
    with (folder / LEASE_FILE).open("w") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        try:
            yield
        finally:
            _release(folder, lease)


def _release(folder: Path, lease: TextIO) -> None:
    """Stops the services if this was their last user. The leash would do so too, but later."""
    with locked(folder):
        services = read(folder)
        if services is None or services.leash is None:
            return
        end([services.leash])
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            restart_leash(services)
        else:
            stop_locked(services)
