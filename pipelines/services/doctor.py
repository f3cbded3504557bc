"""What is wrong with an installation, its home and its services, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
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
from pipelines.services.embedded import STATE_FILE, local_home, read
from vae.errors import ClusterError, ServiceError

DISTRIBUTION = "betaline"
GIB = 1 << 30
# What the main job writes to a fresh home is well under 1 GiB; a data set of one's own is what fills a disk.
LEAST_DISK_BYTES, COMFORTABLE_DISK_BYTES = GIB, 10 * GIB
COMFORTABLE_MEMORY_BYTES = 4 * GIB
Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    """"warn" is what works and may disappoint; "fail" is what will not work."""
    found: str
    mend: str = ""
    """What to do; empty where nothing is to be done."""


def examine(home: str | Path) -> list[Check]:
    """Look at everything a run needs. Changes nothing, and starts nothing.

    Args:
        home: BETALINE_HOME, a path or a URI.
    """
    checks = [_python(), *_packages(), _accelerator(), _memory(), _shared_memory()]
    try:
        folder = local_home(home)
        running = read(folder)
    except ServiceError as error:
        # A home elsewhere is fine as long as the servers are elsewhere too, which is what the message is about.
        elsewhere = "://" in str(home) and not _missing_addresses()
        found = f"{home}, with servers of your own" if elsewhere else str(error)
        home_check = Check(name="home", status="ok" if elsewhere else "fail", found=found)
        return [*checks, home_check, *_cluster(None)]
    return [*checks, _disk(folder), *_private_files(folder), *_services(folder, running), *_cluster(running)]


def _python() -> Check:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Check(name="python", status="ok", found=found)
    return Check(
        name="python",
        status="fail",
        found=f"{found}, supported are 3.11 and 3.12",
        mend="make a virtual environment with Python 3.11: python3.11 -m venv .venv",
    )


def _packages() -> Iterator[Check]:
    """The installed versions against what the project declares; `pip check` misses some of what it declares."""
    try:
        declared = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        yield Check(
            name="packages",
            status="warn",
            found=f"{DISTRIBUTION} itself is not installed, so its requirements are not known",
            mend="pip install -e . in the checkout, or make",
        )
        return
    wrong = [check for item in declared if (check := _package(item)) is not None]
    yield from wrong
    if not wrong:
        names = ("ray", "prefect", "mlflow", "torch")
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
        yield Check(name="packages", status="ok", found=versions)


def _package(requirement: Requirement) -> Check | None:
    """What is wrong with one package; None when nothing is, or it is for another platform or an extra."""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    wanted = str(requirement.specifier) or "any version"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        found = f"not installed, {wanted} is needed"
    else:
        if requirement.specifier.contains(version, prereleases=True):
            return None
        found = f"{version}, {wanted} is needed"
    mend = f"pip install '{requirement.name}{requirement.specifier}'"
    return Check(name=f"package {requirement.name}", status="fail", found=found, mend=mend)


def _accelerator() -> Check:
    """Whether there is a GPU, and whether this build of torch can use it."""
    version = metadata.version("torch")
    driver = Path("/proc/driver/nvidia/version")
    if not driver.exists():
        return Check(name="gpu", status="ok", found=f"none; torch {version} trains on the CPU")
    import torch  # takes seconds, so only where the answer matters

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Check(name="gpu", status="ok", found=f"{names}; torch {version}")
    return Check(
        name="gpu",
        status="warn",
        found=f"a driver is loaded, and torch {version} sees no GPU",
        mend="install a CUDA build of torch (pip install torch from its CUDA index), or update the driver",
    )


def _memory() -> Check:
    available = psutil.virtual_memory().available
    found = f"{available / GIB:.1f} GiB available"
    if available >= COMFORTABLE_MEMORY_BYTES:
        return Check(name="memory", status="ok", found=found)
    mend = f"close other programs: the services and two workers take about {COMFORTABLE_MEMORY_BYTES / GIB:.0f} GiB"
    return Check(name="memory", status="warn", found=found, mend=mend)


def _shared_memory() -> Check:
    """Ray keeps its object store in /dev/shm, and on a disk, slowly, where that is too small."""
    folder = Path("/dev/shm")
    if not folder.exists():
        return Check(name="shared memory", status="ok", found="this system has no /dev/shm")
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in /dev/shm"
    if free >= commands.OBJECT_STORE_BYTES:
        return Check(name="shared memory", status="ok", found=found)
    mend = "give the container more (docker run --shm-size=2g), or remove what is left in /dev/shm"
    return Check(name="shared memory", status="warn", found=found, mend=mend)


def _disk(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        return Check(
            name="home",
            status="fail",
            found=f"{existing} cannot be written to",
            mend="choose another home with BETALINE_HOME, or change the folder's permissions",
        )
    free = shutil.disk_usage(existing).free
    found = f"{folder}, {free / GIB:.1f} GiB free"
    if free >= COMFORTABLE_DISK_BYTES:
        return Check(name="home", status="ok", found=found)
    mend = "free some space, or choose a home on another disk with BETALINE_HOME"
    return Check(name="home", status="warn" if free >= LEAST_DISK_BYTES else "fail", found=found, mend=mend)


def _private_files(folder: Path) -> Iterator[Check]:
    """Whether tokens and the state file are their owner's alone."""
    secrets = folder / "secrets"
    wanted = {folder / STATE_FILE: 0o600, secrets: 0o700}
    if secrets.is_dir() and os.access(secrets, os.R_OK):
        wanted |= dict.fromkeys(sorted(secrets.iterdir()), 0o600)
    present = {path: mode for path, mode in wanted.items() if path.exists()}
    wrong = [path for path, mode in present.items() if path.stat().st_mode & 0o777 != mode]
    for path in wrong:
        mode = present[path]
        yield Check(
            name=f"permissions of {path.name}",
            status="fail",
            found=f"{path} has mode {path.stat().st_mode & 0o777:o}, others may read it",
            mend=f"chmod {mode:o} {path}; if others have been on this machine, run betaline down, "
            f"remove {secrets}, and run betaline up for new tokens",
        )
    if not wrong:
        found = f"{len(present)} private files" if present else "no tokens yet; they are made with the services"
        yield Check(name="tokens", status="ok", found=found)


def _services(folder: Path, recorded: Services | None) -> Iterator[Check]:
    """Whether the embedded services run, answer, and listen on loopback alone; and servers named elsewhere."""
    variables = {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI", "ray": "RAY_ADDRESS"}
    again = "betaline down, then betaline up"
    if recorded is None:
        yield Check(name="services", status="ok", found="not running; betaline up starts them, betaline run its own")
    else:
        for root in recorded.processes:
            if process.find(root) is None:
                found = f"process {root.pid} has ended; its log: {root.log}"
                yield Check(name=root.name, status="fail", found=found, mend=again)
        if all(process.find(root) is not None for root in recorded.processes):
            yield _answer(folder, recorded, again)
        yield from _listeners(recorded)
    for name, variable in variables.items():
        url = os.environ.get(variable)
        if url and name != "ray" and (recorded is None or url not in recorded.environment().values()):
            yield _server(name, variable, url)


def _answer(folder: Path, recorded: Services, again: str) -> Check:
    if services.attach(folder, limit_seconds=5.0) is None:
        logs = folder / "logs"
        return Check(name="services", status="fail", found=f"running, without answer; their logs: {logs}", mend=again)
    names = ", ".join(root.name for root in recorded.processes)
    return Check(name="services", status="ok", found=f"{names} run and answer")


def _listeners(recorded: Services) -> Iterator[Check]:
    """Whether anything that the services started can be reached from elsewhere."""
    for root in recorded.processes:
        for member, address, port in process.listeners(root):
            if not process.is_loopback(address):
                yield Check(
                    name="listeners",
                    status="fail",
                    found=f"{member.name()} ({root.name}) listens on {address}:{port}, beyond loopback",
                    mend=f"stop it with betaline down, and close port {port} in the firewall",
                )


def _server(name: str, variable: str, url: str) -> Check:
    """Whether a server that the environment names answers."""
    if not url.startswith(("http://", "https://")):
        return Check(name=name, status="ok", found=f"{variable} is {url}")
    ready = commands.prefect_is_ready if name == "prefect" else commands.mlflow_is_ready
    if ready(url.rstrip("/")):
        return Check(name=name, status="ok", found=f"{url} answers")
    mend = f"start it, correct {variable}, or unset it to use an embedded one"
    return Check(name=name, status="fail", found=f"{variable} is {url}, which does not answer", mend=mend)


def _cluster(recorded: Services | None) -> Iterator[Check]:
    """What the cluster has, where there is one."""
    address = os.environ.get("RAY_ADDRESS")
    if address is None and (recorded is None or not recorded.is_embedded("ray")):
        return
    if recorded is not None and address in (None, recorded.ray_address):
        if services.attach(recorded.home, limit_seconds=5.0) is None:
            return  # said above
        with services.exported(recorded):
            yield _cluster_check()
    else:
        yield _cluster_check()


def _cluster_check() -> Check:
    try:
        cluster = current_cluster()
        cpus, gpus, num_nodes = total_resources(cluster)
    except (ClusterError, ConnectionError) as error:
        mend = "start the cluster, or correct RAY_ADDRESS and RAY_AUTH_TOKEN_PATH; unset them to use an embedded one"
        return Check(name="cluster", status="fail", found=str(error), mend=mend)
    found = f"{cluster.address}: {num_nodes} node(s), {cpus:g} CPU, {gpus:g} GPU"
    if cpus >= 2:
        return Check(name="cluster", status="ok", found=found)
    return Check(name="cluster", status="warn", found=found, mend="training with 2 workers needs 2 CPUs")


def _missing_addresses() -> list[str]:
    return [name for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS") if not os.environ.get(name)]
