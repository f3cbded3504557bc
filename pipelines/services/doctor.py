"""Checks of an installation, its home and its services, each with the way to mend what is wrong."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from pipelines import services
from pipelines.cluster.resources import current_cluster, total_resources
from pipelines.services import Services, commands, process
from pipelines.services.commands import betaline
from pipelines.services.embedded import STATE_FILE, VARIABLES, local_home, read
from pipelines.services.lease import variables
from pipelines.services.proxies import proxy_for, spared
from pipelines.services.reaching import trouble, without_login
from vae.errors import ClusterError, ServiceError

DISTRIBUTION = "betaline"
GIB = 1 << 30
# What the main job writes to a fresh home is well under 1 GiB; a dataset of one's own is what fills a disk.
LEAST_DISK_BYTES, COMFORTABLE_DISK_BYTES = GIB, 10 * GIB
COMFORTABLE_MEMORY_BYTES = 4 * GIB
ANSWER_SECONDS = 5.0
Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Result of one check."""

    name: str
    status: Status
    """"warn" for something that works and may disappoint; "fail" for something that will not work."""
    found: str
    """State of the checked thing, as a phrase."""
    mend: str = ""
    """Advice; empty for a check that is ok."""


def _check(name: str, found: str, *, is_well: bool = True, otherwise: Status = "fail", mend: str = "") -> Check:
    """Returns a check that is ok, or has another status and says how to mend it."""
    return Check(name=name, status="ok" if is_well else otherwise, found=found, mend="" if is_well else mend)


def examine(home: str | Path) -> list[Check]:
    """Checks everything a run needs. Changes nothing, and starts nothing.

    Args:
        home: BETALINE_HOME, a path or a URI.
    """
    with variables(spared([os.environ.get(VARIABLES["ray"], "")])):
        return [*_installation(), *_of_home(home)]


def _installation() -> list[Check]:
    return [_python(), *_packages(), _accelerator(), _memory(), _shared_memory(), _temporary(), *_proxies()]


def _of_home(home: str | Path) -> list[Check]:
    try:
        folder = local_home(home)
        running = read(folder)
    except ServiceError as error:
        # A home elsewhere is fine if all three servers are elsewhere too, which is what the error asks for.
        is_well = "://" in str(home) and all(map(os.environ.get, VARIABLES.values()))
        found = f"{home}, with servers of your own" if is_well else str(error)
        return [_check("home", found, is_well=is_well), *_external({}), *_cluster(None)]
    return [*_disk(folder), *_private_files(folder), *_services(folder, running), *_cluster(running)]


def _python() -> Check:
    return _check(
        "python",
        ".".join(map(str, sys.version_info[:3])),
        is_well=(3, 11) <= sys.version_info[:2] < (3, 15),
        mend="Python 3.11 to 3.14 are supported; make a virtual environment with one: python3.11 -m venv .venv",
    )


def _packages() -> Iterator[Check]:
    """Compares installed versions with those the project declares; `pip check` misses some of these."""
    try:
        declared = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        found = f"{DISTRIBUTION} itself is not installed, so its requirements are not known"
        yield _check("packages", found, is_well=False, otherwise="warn", mend="in the checkout: pip install -e .")
        return
    wrong = [check for item in declared if (check := _package(item)) is not None]
    yield from wrong
    if not wrong:
        names = ("ray", "prefect", "mlflow", "torch")
        yield _check("packages", ", ".join(f"{name} {metadata.version(name)}" for name in names))


def _package(requirement: Requirement) -> Check | None:
    """Returns the check of a package with a wrong version; None if the version is right or no package is needed here."""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": "cluster"}):
        return None
    try:
        version = metadata.version(requirement.name)
        if requirement.specifier.contains(version, prereleases=True):
            return None
    except metadata.PackageNotFoundError:
        version = "not installed"
    found = f"{version}, {str(requirement.specifier) or 'any version'} is needed"
    mend = f"pip install '{requirement.name}{requirement.specifier}'"
    return _check(f"package {requirement.name}", found, is_well=False, mend=mend)


def _accelerator() -> Check:
    """Checks whether there is a GPU, and whether this build of torch can use it."""
    version = metadata.version("torch")
    if not Path("/proc/driver/nvidia/version").exists():
        return _check("gpu", f"none; torch {version} trains on the CPU")
    import torch  # takes seconds, so only where the answer matters

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return _check("gpu", f"{names}; torch {version}")
    found = f"a driver is loaded, and torch {version} sees no GPU"
    mend = "install a CUDA build of torch (pip install torch from its CUDA index), or update the driver"
    return _check("gpu", found, is_well=False, otherwise="warn", mend=mend)


def _memory() -> Check:
    available = psutil.virtual_memory().available
    return _check(
        "memory",
        f"{available / GIB:.1f} GiB available",
        is_well=available >= COMFORTABLE_MEMORY_BYTES,
        otherwise="warn",
        mend=f"close other programs: the services and two workers take about {COMFORTABLE_MEMORY_BYTES / GIB:.0f} GiB",
    )


def _shared_memory() -> Check:
    """Checks /dev/shm, where Ray keeps its object store; if it is too small, Ray uses a disk, slowly."""
    folder = Path("/dev/shm")
    if not folder.exists():
        return _check("shared memory", "this system has no /dev/shm")
    free = shutil.disk_usage(folder).free
    return _check(
        "shared memory",
        f"{free / GIB:.1f} GiB free in /dev/shm",
        is_well=free >= commands.OBJECT_STORE_BYTES,
        otherwise="warn",
        mend="give the container more (docker run --shm-size=2g), or remove files from /dev/shm",
    )


def _temporary() -> Check:
    trouble = commands.temporary_trouble()
    return _check(
        "temporary files", trouble or tempfile.gettempdir(), is_well=trouble is None, mend="export TMPDIR=/tmp"
    )


def _proxies() -> Iterator[Check]:
    """Says which servers are requested through a proxy of the environment, and which directly."""
    if not spared():
        return
    addresses = {variable: os.environ[variable] for variable in VARIABLES.values() if os.environ.get(variable)}
    ways = [f"{variable} through {proxy}" for variable, url in addresses.items() if (proxy := proxy_for(url))]
    other = proxy_for("https://any.host.example") or "no proxy"
    found = f"other hosts through {other}; this machine and the cluster directly, as NO_PROXY={os.environ['NO_PROXY']}"
    yield _check("proxy", "; ".join([*ways, found]))


def _disk(folder: Path) -> Iterator[Check]:
    elsewhere = "choose another home with BETALINE_HOME"
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        found = f"{existing} cannot be written to" if existing.is_dir() else f"{existing} is not a folder"
        yield _check("home", found, is_well=False, mend=f"{elsewhere}, or change the folder's permissions")
        return
    if existing == folder and folder.stat().st_mode & 0o022:
        found = f"{folder} has mode {folder.stat().st_mode & 0o777:o}: others can change what is in it"
        yield _check("permissions of the home", found, is_well=False, otherwise="warn", mend=f"chmod go-w {folder}")
    inodes = os.statvfs(existing)
    if inodes.f_files and not inodes.f_favail:
        yield _check("inodes", "none left for further files", is_well=False, mend=f"remove files, or {elsewhere}")
    free = shutil.disk_usage(existing).free
    yield _check(
        "home",
        f"{folder}, {free / GIB:.1f} GiB free",
        is_well=free >= COMFORTABLE_DISK_BYTES,
        otherwise="warn" if free >= LEAST_DISK_BYTES else "fail",
        mend=f"free some space, or {elsewhere} on another disk",
    )


def _private_files(folder: Path) -> Iterator[Check]:
    """Checks that only their owner can read the tokens and the state file."""
    secrets = folder / "secrets"
    modes = {folder / STATE_FILE: 0o600, secrets: 0o700}
    if secrets.is_dir() and os.access(secrets, os.R_OK):
        modes |= dict.fromkeys(sorted(secrets.iterdir()), 0o600)
    present = {path: path.stat().st_mode & 0o777 for path in modes if path.exists()}
    wrong = {path: mode for path, mode in present.items() if mode != modes[path]}
    for path, mode in wrong.items():
        yield _check(
            f"permissions of {path.name}",
            f"{path} has mode {mode:o}, others may read it",
            is_well=False,
            mend=f"chmod {modes[path]:o} {path}; if others use this machine, make new tokens: "
            f"{betaline('down', folder)}; rm -r {secrets}; {betaline('up', folder)}",
        )
    if not wrong:
        found = f"{len(present)} private files" if present else "no tokens yet; they are made with the services"
        yield _check("tokens", found)


def _services(folder: Path, recorded: Services | None) -> Iterator[Check]:
    """Checks whether embedded services run, answer, and listen on loopback alone; then servers of the environment."""
    addresses = {} if recorded is None else recorded.addresses
    if recorded is None:
        yield _check(
            "services", f"not running; {betaline('up', folder)} starts them, and other commands start their own"
        )
    else:
        again = f"{betaline('down', folder)}; {betaline('up', folder)}"
        ended = [root for root in recorded.processes if process.find(root) is None]
        for root in ended:
            found = f"process {root.pid} has ended; its log: {root.log}"
            yield _check(root.name, found, is_well=False, mend=again)
        if not ended:
            is_well = services.attach(folder, limit_seconds=ANSWER_SECONDS) is not None
            names = ", ".join(root.name for root in recorded.processes)
            found = f"{names} run and answer" if is_well else f"{names} run and do not answer; logs: {folder / 'logs'}"
            yield _check("services", found, is_well=is_well, mend=again)
        yield from _listeners(folder, recorded)
    yield from _external(addresses)


def _listeners(folder: Path, recorded: Services) -> Iterator[Check]:
    """Reports everything started by the services that other machines can reach."""
    for root in recorded.processes:
        for member, address, port in process.listeners(root):
            if not process.is_loopback(address):
                found = f"{member.name()} ({root.name}) listens on {address}:{port}, beyond loopback"
                mend = f"stop it with {betaline('down', folder)}, and close port {port} in the firewall"
                yield _check("listeners", found, is_well=False, mend=mend)


def _external(embedded: dict[str, str]) -> Iterator[Check]:
    """Checks whether the servers that the environment names answer a request with this user's login."""
    for name in ("prefect", "mlflow"):
        url = os.environ.get(VARIABLES[name])
        if url and url not in embedded.values():
            wrong = trouble(name, url)
            mend = f"correct {VARIABLES[name]}, or unset it to use an embedded server"
            yield _check(name, wrong or f"{without_login(url)} answers", is_well=wrong is None, mend=mend)


def _cluster(recorded: Services | None) -> Iterator[Check]:
    """Checks the resources of the cluster, if one is running."""
    address = os.environ.get("RAY_ADDRESS")
    if recorded is not None and recorded.is_embedded("ray") and address in (None, recorded.ray_address):
        if services.attach(recorded.home, limit_seconds=ANSWER_SECONDS) is not None:  # otherwise reported already
            with services.exported(recorded):
                yield _cluster_check()
    elif address is not None:
        yield _cluster_check()


def _cluster_check() -> Check:
    try:
        cluster = current_cluster()
        cpus, gpus, num_nodes = total_resources(cluster)
    except (ClusterError, ConnectionError) as error:
        mend = "start the cluster, or correct RAY_ADDRESS and RAY_AUTH_TOKEN_PATH; unset them to use an embedded one"
        return _check("cluster", str(error), is_well=False, mend=mend)
    found = f"{cluster.address}: {num_nodes} node(s), {cpus:g} CPU, {gpus:g} GPU"
    return _check("cluster", found, is_well=cpus >= 2, otherwise="warn", mend="training with 2 workers needs 2 CPUs")
