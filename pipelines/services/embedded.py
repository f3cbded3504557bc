"""Starting, finding and stopping the three services of one home."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipelines.services import commands
from pipelines.services.commands import NAMES
from pipelines.services.process import LOOPBACK, Process, end, find, last_lines, spawn
from vae.errors import ServiceError

STATE_FILE = "services.json"
# Of a client's environment; what is printed for a program to keep goes without.
SECRETS = ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD")
SOURCE_ROOT = Path(__file__).parents[2]
STATE_FORMAT = 1
# How long a live service may take to answer, on a machine that is busy with other things.
ANSWER_SECONDS = 20.0
Progress = Callable[[str, float], None]
"""Called with a service's name and the seconds it took when it is ready."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """Where Prefect, MLflow and Ray are, and the processes that are ours among them."""

    home: str
    prefect_url: str
    """The UI."""
    prefect_api_url: str
    mlflow_url: str
    ray_address: str
    """The dashboard, which is also where the Jobs API is."""
    processes: tuple[Process, ...] = ()
    """One for each embedded service; none for a service elsewhere."""
    leash: Process | None = None
    """What ends the services when nobody uses them any more; None for those that `betaline up` started."""

    def is_embedded(self, name: str) -> bool:
        """Whether a service ("prefect", "mlflow" or "ray") is one that runs on this machine for this home."""
        return any(process.name == name for process in self.processes)

    def environment(self) -> dict[str, str]:
        """What a client process needs in its environment to reach the services, tokens included."""
        home = Path(self.home)
        found = {
            "PREFECT_API_URL": self.prefect_api_url,
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "RAY_ADDRESS": self.ray_address,
            "BETALINE_HOME": self.home,
        }
        if self.is_embedded("prefect"):
            found["PREFECT_API_AUTH_STRING"] = commands.read_secret(home, "prefect_auth")
            # A profile in the user's own folder may hold a key for another server.
            found["PREFECT_HOME"] = str(home / "prefect")
            found["DO_NOT_TRACK"] = "1"
        if self.is_embedded("mlflow"):
            found |= commands.mlflow_login(home, embedded=True)
        if self.is_embedded("ray"):
            found["RAY_AUTH_MODE"] = "token"
            found["RAY_AUTH_TOKEN_PATH"] = str(home / "secrets" / "ray_token")
        return found


def local_home(home: str | Path) -> Path:
    """The absolute folder of a home that embedded services can keep their state in.

    Raises:
        ServiceError: If the home is a URI of another filesystem.
    """
    text = str(home)
    if "://" in text and not text.startswith("file://"):
        raise ServiceError(
            f"embedded services keep their state on a local disk, and the home is {text}; "
            "set MLFLOW_TRACKING_URI, PREFECT_API_URL and RAY_ADDRESS, or choose a local home"
        )
    return Path(text.removeprefix("file://")).expanduser().absolute()


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
    """Start the embedded services of a home in parallel and wait until they answer; running ones are kept.

    Args:
        home: Folder of the databases, the artifacts, the logs and the tokens.
        on_progress: Called as each service becomes ready.
        lasting: Whether they live on when nobody uses them. Otherwise the caller holds the home's lease
            (see `connect`), and they end with its last holder, however that ends.
        names: Which services.
        num_cpus: CPUs that Ray may hand out; None means the machine's.
        host: Where to listen.
        limit_seconds: How long to wait for all.

    Raises:
        ServiceError: If one does not start, or `host` is beyond loopback; what was started is stopped then. Or if
            some run already that others may be using, and do not answer: they are left as they are.
    """
    _refuse_beyond_loopback(host)
    folder = local_home(home)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        recorded = read(folder)
        silent = None if recorded is None else _silent(recorded, min(limit_seconds, ANSWER_SECONDS))
        if recorded is not None and silent == []:
            return _adopt(recorded, lasting=lasting, names=names)
        if recorded is not None and silent:
            _refuse_to_replace(recorded, silent)
        _clear(folder)
        told = on_progress or (lambda name, seconds: None)
        try:
            services = _start(folder, names, num_cpus, limit_seconds, told)
        except _EndedError:
            # Ray gives a node 30 s to register, which the first start after an installation may miss on a busy machine.
            services = _start(folder, names, num_cpus, limit_seconds, told)
        if not lasting:
            services = replace(services, leash=_spawn_leash(folder))
        _write(services)
        return services


class _EndedError(ServiceError):
    """A service ended by itself while it was starting."""


def stop(services: Services) -> None:
    """End exactly the processes of these services, with all they started, and forget them."""
    folder = Path(services.home)
    with locked(folder):
        stop_locked(services)


def stop_locked(services: Services) -> None:
    """`stop` for a caller that holds the home's lock."""
    # The leash goes first, or it would see its services end and try the same.
    end([services.leash] if services.leash else [])
    end(services.processes)
    (Path(services.home) / STATE_FILE).unlink(missing_ok=True)


def attach(home: str | Path, *, limit_seconds: float = ANSWER_SECONDS) -> Services | None:
    """The running services of a home, or None when there are none or one of them has died.

    Args:
        home: Their home.
        limit_seconds: How long a live service may take to answer before it counts as dead.
    """
    services = read(local_home(home))
    return services if services is not None and _silent(services, limit_seconds) == [] else None


def read(folder: Path) -> Services | None:
    """What services.json says, whether or not it is still true.

    Raises:
        ServiceError: If it cannot be read.
    """
    path = folder / STATE_FILE
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ServiceError(f"{path} is not JSON ({error}); remove it, and end what still runs yourself") from None
    if record.pop("format", None) != STATE_FORMAT:
        raise ServiceError(f"{path} was written by another version of betaline; stop its services with that one")
    leash = record.pop("leash")
    processes = tuple(Process(**entry) for entry in record.pop("processes"))
    return Services(processes=processes, leash=Process(**leash) if leash else None, **record)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the home's lock: one process at a time starts or stops its services."""
    with (folder / "services.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def restart_leash(services: Services) -> None:
    """Give the services a new leash, for a caller that holds the home's lock and has ended the old one."""
    _write(replace(services, leash=_spawn_leash(Path(services.home))))


def _start(
    folder: Path, names: tuple[str, ...], num_cpus: int | None, limit_seconds: float, on_progress: Progress
) -> Services:
    for name in ("logs", "artifacts", "runs", "prefect"):
        (folder / name).mkdir(exist_ok=True)
    commands.make_secrets(folder)
    if "ray" in names:
        commands.sweep_ray_folder(folder)
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
    except BaseException:  # Ctrl-C while they start must leave nothing behind either
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
    """The live services that give no answer in time; None where one has died."""
    deadline = time.monotonic() + limit_seconds
    while all(find(process) is not None for process in services.processes):
        silent = _not_answering(services)
        if not silent or time.monotonic() > deadline:
            return silent
        time.sleep(0.2)
    return None


def _not_answering(services: Services) -> list[Process]:
    checks = {
        "prefect": lambda: commands.prefect_is_ready(services.prefect_api_url),
        "mlflow": lambda: commands.mlflow_is_ready(services.mlflow_url),
        "ray": lambda: commands.ray_is_ready(
            services.ray_address, commands.read_secret(Path(services.home), "ray_token")
        ),
    }
    return [process for process in services.processes if not checks[process.name]()]


def _refuse_to_replace(running: Services, silent: list[Process]) -> None:
    """Spare live services that are used: a busy machine may be all that keeps them from answering."""
    # A live leash means that somebody holds the lease: it waits for just that.
    if running.leash is None or find(running.leash) is not None:
        raise ServiceError(
            f"the services of {running.home} run, and no answer comes from {', '.join(p.name for p in silent)}. Others may "
            "be using them: wait and try again, or stop them with betaline down. "
            f"The log: {', '.join(p.log for p in silent)}"
        )


def _adopt(running: Services, *, lasting: bool, names: tuple[str, ...]) -> Services:
    missing = [name for name in names if not running.is_embedded(name)]
    if missing:
        raise ServiceError(
            f"the services of {running.home} run without {', '.join(missing)}, because another command has "
            "set where to find it; wait for that command, or stop them with betaline down"
        )
    if lasting and running.leash is not None:
        end([running.leash])
        running = replace(running, leash=None)
        _write(running)
    return running


def _clear(folder: Path) -> None:
    """End what is left of services that died in part, and forget them."""
    stale = read(folder)
    if stale is not None:
        stop_locked(stale)


def _spawn_leash(folder: Path) -> Process:
    command = [sys.executable, "-m", "pipelines.services.leash", str(folder)]
    # This very code, also where it runs from a checkout that is not installed.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCE_ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    return spawn("leash", command, environment, folder / "logs" / "leash.log", folder)


def _write(services: Services) -> None:
    path = Path(services.home) / STATE_FILE
    staged = path.with_suffix(".staged")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"format": STATE_FORMAT, **asdict(services)}, file, indent=2)
    staged.replace(path)


def _refuse_beyond_loopback(host: str) -> None:
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback:
        raise ServiceError(
            f"refusing to listen on {host}: the embedded servers speak plain HTTP, in which others could read their "
            f"passwords. Keep them on {LOOPBACK} and reach them by an SSH tunnel, or run servers of your own and set "
            "MLFLOW_TRACKING_URI, PREFECT_API_URL and RAY_ADDRESS"
        )
    if host not in (LOOPBACK, "localhost"):
        raise ServiceError(f"the services listen on {LOOPBACK}, not on {host}")
