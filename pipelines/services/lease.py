"""Using services for a while: running ones, those of the environment, or ones that end with their users."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from pipelines.services.commands import NAMES
from pipelines.services.embedded import (
    Progress,
    Services,
    attach,
    local_home,
    locked,
    read,
    restart_leash,
    start,
    stop_locked,
)
from pipelines.services.process import end

LEASE_FILE = "services.lease"
_VARIABLES = {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI", "ray": "RAY_ADDRESS"}


@contextmanager
def connect(
    home: str | Path, *, on_progress: Progress | None = None, num_cpus: int | None = None
) -> Iterator[Services]:
    """Use the services of a home, with this process's environment set up for their clients.

    PREFECT_API_URL, MLFLOW_TRACKING_URI and RAY_ADDRESS each replace the embedded service of that kind. Of
    the others running ones are used; else they are started, and end with the last process that uses them,
    even if that is killed. On leaving, the environment is as it was.

    Raises:
        ServiceError: If an embedded service is needed and does not start.
    """
    external = {name: os.environ[variable] for name, variable in _VARIABLES.items() if os.environ.get(variable)}
    if len(external) == len(NAMES) and "://" in str(home):
        with exported(_external(str(home), external)) as services:
            yield services
        return
    folder = local_home(home)
    running = attach(folder)
    if running is not None:
        # The environment may name the embedded ones: it was set up for their clients.
        ours = {"prefect": running.prefect_api_url, "mlflow": running.mlflow_url, "ray": running.ray_address}
        external = {name: url for name, url in external.items() if not running.is_embedded(name) or url != ours[name]}
    needed = tuple(name for name in NAMES if name not in external)
    if not needed:
        with exported(_external(str(folder), external)) as services:
            yield services
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _leased(folder):
        services = start(folder, on_progress=on_progress, lasting=False, names=needed, num_cpus=num_cpus)
        with exported(_replaced(services, external)) as services:
            yield services


@contextmanager
def exported(services: Services) -> Iterator[Services]:
    """Set this process's environment up for the clients of the services, and put it back afterwards."""
    values: dict[str, str | None] = {**services.environment()}
    if services.is_embedded("ray"):
        values["RAY_AUTH_TOKEN"] = None  # of another cluster; Ray would take it before the file
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    _refresh_prefect()
    try:
        yield services
    finally:
        _set(before)
        _refresh_prefect()


def _set(values: Mapping[str, str | None]) -> None:
    """Set variables of this process's environment; None takes one away."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _refresh_prefect() -> None:
    """Prefect reads the environment once, when it is imported; have it read it again if that is past."""
    if "prefect.context" in sys.modules:
        sys.modules["prefect.context"].refresh_global_settings_context()


def _external(home: str, urls: dict[str, str]) -> Services:
    """Three services that are all elsewhere."""
    nowhere = Services(home=home, prefect_url="", prefect_api_url="", mlflow_url="", ray_address="")
    return _replaced(nowhere, urls)


def _replaced(services: Services, external: dict[str, str]) -> Services:
    """The services with those of the environment in place of the embedded ones."""
    kept = tuple(process for process in services.processes if process.name not in external)
    services = replace(services, processes=kept)
    if "prefect" in external:
        api_url = external["prefect"].rstrip("/")
        services = replace(services, prefect_api_url=api_url, prefect_url=api_url.removesuffix("/api"))
    if "mlflow" in external:
        services = replace(services, mlflow_url=external["mlflow"])
    if "ray" in external:
        services = replace(services, ray_address=external["ray"].rstrip("/"))
    return services


@contextmanager
def _leased(folder: Path) -> Iterator[None]:
    """Count as a user of the home's services. The kernel ends a lease with its process, however that ends."""
    with (folder / LEASE_FILE).open("w") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        try:
            yield
        finally:
            _release(folder, lease)


def _release(folder: Path, lease: TextIO) -> None:
    """Stop the services if this was their last user: the leash would do it too, but later."""
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
