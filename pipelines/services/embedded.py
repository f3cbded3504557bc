"""Starting, finding and stopping the three services of one home."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from pipelines.services import commands
from pipelines.services.commands import NAMES, betaline
from pipelines.services.process import LOOPBACK, Process, end, find, last_lines, spawn
from pipelines.services.proxies import spared
from vae import progress
from vae.errors import ServiceError

STATE_FILE = "services.json"
VARIABLES = {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI", "ray": "RAY_ADDRESS"}
"""Environment variables that hold the services' addresses; each that a user sets replaces the embedded service."""
SECRETS = ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD")
"""Variables of a client's environment that hold passwords; `--json` leaves them out."""
HEARTBEATS, HEARTBEAT_SECONDS = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", 30
"""Variable with the seconds between the heartbeats of a flow run, and the fewest that Prefect accepts; it takes 180."""
SOURCE_ROOT = Path(__file__).parents[2]
STATE_FORMAT = 1
ANSWER_SECONDS = 20.0
"""Seconds that a live service may take to answer, on a machine that is busy with other things."""
Progress = Callable[[str, float], None]
"""A function that is called with a service's name and the seconds it took to become ready."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """Addresses of Prefect, MLflow and Ray, and the processes of those that are embedded."""

    home: str
    prefect_url: str
    """Address of Prefect's UI."""
    prefect_api_url: str
    mlflow_url: str
    ray_address: str
    """Address of Ray's dashboard, which also serves the Jobs API."""
    processes: tuple[Process, ...] = ()
    """One process for each embedded service; none for a service elsewhere."""
    leash: Process | None = None
    """The process that ends the services once nobody uses them; None for services that `betaline up` started."""

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each service, by its name, as its clients' environment variable has it."""
        return dict(zip(NAMES, (self.prefect_api_url, self.mlflow_url, self.ray_address), strict=True))

    def is_embedded(self, name: str) -> bool:
        """Returns whether a service ("prefect", "mlflow" or "ray") runs on this machine for this home."""
        return any(process.name == name for process in self.processes)

    def environment(self) -> dict[str, str]:
        """Returns the variables of a client process: addresses and tokens of the services, and the way past its proxies."""
        home = Path(self.home)
        variables = {VARIABLES[name]: address for name, address in self.addresses.items()}
        variables |= {"BETALINE_HOME": self.home, **spared([self.ray_address])}
        variables[HEARTBEATS] = os.environ.get(HEARTBEATS, str(HEARTBEAT_SECONDS))
        if self.is_embedded("prefect"):
            variables["PREFECT_API_AUTH_STRING"] = commands.read_secret(home, "prefect_auth")
            # A profile in the user's own folder may hold a key for another server.
            variables["PREFECT_HOME"] = str(home / "prefect")
            variables["DO_NOT_TRACK"] = "1"
        if self.is_embedded("mlflow"):
            variables |= commands.mlflow_login(home, embedded=True)
        if self.is_embedded("ray"):
            variables["RAY_AUTH_MODE"] = "token"
            variables["RAY_AUTH_TOKEN_PATH"] = str(home / "secrets" / "ray_token")
        return variables


def local_home(home: str | Path) -> Path:
    """Returns the absolute folder of a home, in which embedded services can keep their state.

    Raises:
        ServiceError: If the home is a URI of another filesystem.
    """
    text = str(home)
    if "://" in text and not text.startswith("file://"):
        raise ServiceError(
            f"the home is {text}, and embedded services keep their state on a local disk; "
            "choose a local home, or set MLFLOW_TRACKING_URI, PREFECT_API_URL and RAY_ADDRESS"
        )
    return Path(text.removeprefix("file://")).expanduser().absolute()


def made_home(home: str | Path) -> Path:
    """Makes the folder of a home, unless it exists, and writes a file in it for a moment.

    Raises:
        ServiceError: If that fails, or the home is a URI of another filesystem.
    """
    folder = local_home(home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise ServiceError(f"the home {folder} cannot be written to: {why_unwritable(folder, error)}") from None
    return folder


def why_unwritable(folder: Path, error: OSError) -> str:
    """Returns why a file cannot be made in a folder, with what to do."""
    elsewhere = "or choose another home with --home or BETALINE_HOME"
    if error.errno != errno.ENOSPC:
        return f"{error.strerror or error} ({error.filename or folder}). Change its permissions, {elsewhere}"
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if os.statvfs(existing).f_favail == 0:
        return f"its disk has space and no inodes left, so it takes no further file. Remove files, {elsewhere}"
    return f"its disk is full. Free some space, {elsewhere}"


def start(
    home: str | Path,
    *,
    on_progress: Progress | None = None,
    lasting: bool = True,
    names: tuple[str, ...] = NAMES,
    num_cpus: int | None = None,
    host: str = LOOPBACK,
    limit_seconds: float = 120.0,
) -> Services:
    """Starts the embedded services of a home in parallel and waits until they answer; running ones are kept.

    Args:
        home: Folder of the databases, the artifacts, the logs and the tokens.
        on_progress: Called as each service becomes ready.
        lasting: Whether they live on when nobody uses them. If not, the caller must hold the home's lease (see `connect`).
        names: Services to start.
        num_cpus: CPUs that Ray may hand out; None means the machine's.
        host: Address to listen on; only loopback is accepted.
        limit_seconds: Seconds to wait for all of them.

    Raises:
        ServiceError: If `host` is not loopback; if the home cannot be written to; if a service does not start, in which
            case those already started are stopped; or if running services that others may be using do not answer, in
            which case they are left alone.
    """
    _refuse_beyond_loopback(host)
    folder = made_home(home)
    with locked(folder):
        if kept := _keep_or_clear(folder, lasting, names, min(limit_seconds, ANSWER_SECONDS)):
            return kept
        launch = partial(_launch, folder, names, num_cpus, limit_seconds, on_progress or (lambda name, seconds: None))
        try:
            services = launch()
        except _EndedError:
            # Ray gives a node 30 s to register, which the first start after an installation may miss on a busy machine.
            services = launch()
        services = replace(services, leash=None if lasting else _spawn_leash(folder))
        _write(services)
        return services


class _EndedError(ServiceError):
    """Raised when a service ends by itself while it starts."""


def stop(services: Services) -> None:
    """Ends the processes of these services, with everything they started, and removes the state file."""
    with locked(Path(services.home)):
        stop_locked(services)


def stop_locked(services: Services) -> None:
    """Does the same as `stop`, for a caller that holds the home's lock."""
    progress.report("stopping the services")
    # The leash goes first, or it would see its services end and try the same.
    end([services.leash] if services.leash else [])
    end(services.processes)
    (Path(services.home) / STATE_FILE).unlink(missing_ok=True)


def attach(home: str | Path, *, limit_seconds: float = ANSWER_SECONDS) -> Services | None:
    """Returns the running services of a home; None if there are none or one of them has died.

    Args:
        home: Folder of the services' state.
        limit_seconds: Seconds after which a service without an answer counts as dead.
    """
    services = read(local_home(home))
    return services if services is not None and _silent(services, limit_seconds) == [] else None


def read(folder: Path) -> Services | None:
    """Returns the services that services.json records, whether or not they still run; None without a record.

    Raises:
        ServiceError: If the file cannot be read or is not JSON, or another version of betaline wrote it.
    """
    path = folder / STATE_FILE
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ServiceError(f"the home {folder} cannot be read: {why_unwritable(folder, error)}") from None
    except ValueError as error:
        raise ServiceError(f"{path} is not JSON ({error}); remove it, and end its services yourself") from None
    if record.pop("format", None) != STATE_FORMAT:
        raise ServiceError(f"{path} was written by another version of betaline; stop its services with that one")
    leash = record.pop("leash")
    processes = tuple(Process(**entry) for entry in record.pop("processes"))
    return Services(processes=processes, leash=Process(**leash) if leash else None, **record)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the home's lock while the block runs: one process at a time starts or stops its services."""
    with (folder / "services.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def restart_leash(services: Services) -> None:
    """Gives the services a new leash; the caller holds the home's lock and has ended the old one."""
    _write(replace(services, leash=_spawn_leash(Path(services.home))))


def _launch(
    folder: Path, names: tuple[str, ...], num_cpus: int | None, limit_seconds: float, on_progress: Progress
) -> Services:
    for name in ("logs", "artifacts", "runs", "prefect"):
        (folder / name).mkdir(exist_ok=True)
    commands.make_secrets(folder)
    if "ray" in names:
        if trouble := commands.temporary_trouble():
            raise ServiceError(trouble)
        shutil.rmtree(commands.ray_folder(folder), ignore_errors=True)  # what earlier heads of this home left
    ports = commands.choose_ports(folder)
    login = commands.mlflow_login(folder, embedded="mlflow" in names)
    launches = {
        "prefect": lambda: commands.prefect(folder, ports),
        "mlflow": lambda: commands.mlflow(folder, ports),
        "ray": lambda: commands.ray(folder, ports, login=login, num_cpus=num_cpus),
    }
    chosen = [launches[name]() for name in names]
    started: list[Process] = []
    try:
        for launch in chosen:
            log = folder / "logs" / f"{launch.name}.log"
            started.append(spawn(launch.name, launch.command, launch.environment, log, folder))
        _wait_until_ready(chosen, started, limit_seconds, on_progress)
    except BaseException:  # includes Ctrl-C: a start that is interrupted leaves nothing behind
        end(started)
        raise
    return Services(
        home=str(folder),
        prefect_url=f"http://{LOOPBACK}:{ports.prefect}",
        prefect_api_url=f"http://{LOOPBACK}:{ports.prefect}/api",
        mlflow_url=f"http://{LOOPBACK}:{ports.mlflow}",
        ray_address=f"http://{LOOPBACK}:{ports.ray_dashboard}",
        processes=tuple(started),
    )


def _wait_until_ready(
    launches: list[commands.Launch], processes: list[Process], limit_seconds: float, on_progress: Progress
) -> None:
    begun = time.monotonic()
    waiting = dict(zip(processes, launches, strict=True))
    while waiting:
        progress.report("starting the services", note=f"waiting for {_names(waiting)}")
        for process, launch in list(waiting.items()):
            if find(process) is None:
                raise _EndedError(_failure(process, "ended before it was ready"))
            if launch.is_ready():
                del waiting[process]
                on_progress(process.name, time.monotonic() - begun)
            elif time.monotonic() - begun > limit_seconds:
                raise ServiceError(_failure(process, f"was not ready after {limit_seconds:.0f} s"))
        time.sleep(0.1)


def _failure(process: Process, what: str) -> str:
    return f"{process.name} {what}. It said last:\n{last_lines(process.log)}\nIts whole log: {process.log}"


def _silent(services: Services, limit_seconds: float) -> list[Process] | None:
    """Returns the live services that give no answer in time; None if one has died."""
    deadline = time.monotonic() + limit_seconds
    while all(find(process) is not None for process in services.processes):
        silent = _not_answering(services)
        if not silent or time.monotonic() > deadline:
            return silent
        progress.report("looking for running services", note=f"no answer yet from {_names(silent)}")
        time.sleep(0.2)
    return None


def _names(processes: Iterable[Process]) -> str:
    return ", ".join(process.name for process in processes)


def _not_answering(services: Services) -> list[Process]:
    def answers(name: str) -> bool:
        address = services.addresses[name]
        if name == "ray":
            return commands.ray_is_ready(address, commands.read_secret(Path(services.home), "ray_token"))
        return commands.is_healthy(address)

    return [process for process in services.processes if not answers(process.name)]


def _keep_or_clear(folder: Path, lasting: bool, names: tuple[str, ...], limit_seconds: float) -> Services | None:
    """Returns the services that run already; otherwise ends what is left of them, and returns None."""
    recorded = read(folder)
    if recorded is None:
        return None
    silent = _silent(recorded, limit_seconds)
    if silent == []:
        return _adopt(recorded, lasting=lasting, names=names)
    # The machine may be busy. A live leash waits for the last lease, so somebody holds one.
    if silent and (recorded.leash is None or find(recorded.leash) is not None):
        raise ServiceError(
            f"no answer from {_names(silent)}, which runs in {recorded.home} and may be in use: wait, "
            f"or stop it with {betaline('down', recorded.home)}. Log: {', '.join(p.log for p in silent)}"
        )
    stop_locked(recorded)
    return None


def _adopt(running: Services, *, lasting: bool, names: tuple[str, ...]) -> Services:
    if missing := [name for name in names if not running.is_embedded(name)]:
        variables = ", ".join(VARIABLES[name] for name in missing)
        raise ServiceError(
            f"the services of {running.home} run without {', '.join(missing)}, because the command that started them had "
            f"{variables} set; wait until it ends, or stop them with {betaline('down', running.home)}"
        )
    if lasting and running.leash is not None:
        end([running.leash])
        running = replace(running, leash=None)
        _write(running)
    return running


def _spawn_leash(folder: Path) -> Process:
    command = [sys.executable, "-m", "pipelines.services.leash", str(folder)]
    # The leash must run this same code, even from a checkout that is not installed.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCE_ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    return spawn("leash", command, environment, folder / "logs" / "leash.log", folder)


def _write(services: Services) -> None:
    path = Path(services.home) / STATE_FILE
    staged = path.with_suffix(".staged")
    staged.unlink(missing_ok=True)
    commands.write_private(staged, json.dumps({"format": STATE_FORMAT, **asdict(services)}, indent=2))
    staged.replace(path)


def _refuse_beyond_loopback(host: str) -> None:
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback:
        raise ServiceError(
            f"refusing to listen on {host}: the embedded servers speak plain HTTP, so others on the network could read "
            f"passwords. Listen on {LOOPBACK} and use an SSH tunnel, or run servers of your own and set "
            "MLFLOW_TRACKING_URI, PREFECT_API_URL and RAY_ADDRESS"
        )
    if host not in (LOOPBACK, "localhost"):
        raise ServiceError(f"the services listen on {LOOPBACK}, not on {host}; leave out --host")
