"""Commands and environments that start the embedded services, and the requests that tell when they are ready."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shlex
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.services.process import LOOPBACK, NUM_PORTS, free_port
from pipelines.services.proxies import spared
from pipelines.services.schemas import make_database
from vae.errors import ServiceError

NAMES = ("prefect", "mlflow", "ray")
OBJECT_STORE_BYTES = 1 << 30
# A client's settings must not reach the servers: PREFECT_API_URL would make the server a client of another.
_CLIENT_PREFIXES = ("PREFECT_", "MLFLOW_", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_", "RAY_JOB_")
# What Ray adds, session_DATE_TIME_MICROSECONDS_PID/sockets/plasma_store, must fit a Unix socket's 107 bytes.
_LONGEST_RAY_FOLDER = 40
# What Python's multiprocessing adds, as in Ray's dashboard: /pymp-12345678/listener-12345678.
_LONGEST_TEMPORARY_FOLDER = 75
MLFLOW_USER = "betaline"
_MLFLOW_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Loopback ports of the listeners that clients look for; Ray chooses its other ports itself."""

    prefect: int
    mlflow: int
    ray_dashboard: int
    ray_gcs: int
    ray_client: int


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Everything needed to start one service."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    """The whole environment of the process, passwords included."""
    is_ready: Callable[[], bool]


def choose_ports(home: Path) -> Ports:
    """Returns free ports derived from the home: a restart gets the same ones, and two homes do not collide."""
    taken: set[int] = set()

    def near(name: str) -> int:
        digest = hashlib.sha256(f"{home}/{name.replace('_', ' ')}".encode()).digest()
        return free_port(int.from_bytes(digest[:4], "big") % NUM_PORTS, taken)

    return Ports(**{name: near(name) for name in Ports.__dataclass_fields__})


def make_secrets(home: Path) -> None:
    """Draws the tokens of a home once, into files of mode 600 in a folder of mode 700."""
    folder = home / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    drawn = {
        "ray_token": secrets.token_hex(32),
        "prefect_auth": f"betaline:{secrets.token_urlsafe(32)}",
        "mlflow_password": secrets.token_urlsafe(32),
        "prefect_encryption_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    for name, value in drawn.items():
        try:
            write_private(folder / name, value)
        except FileExistsError:
            (folder / name).chmod(0o600)


def write_private(path: Path, text: str) -> None:
    """Writes a new file that its owner alone can read; raises FileExistsError if the file exists."""
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)


def betaline(command: str, home: str | Path) -> str:
    """Returns a command of betaline for a home, as it is typed in a shell."""
    return f"betaline {command} --home {shlex.quote(str(home))}"


def read_secret(home: Path, name: str) -> str:
    """Returns a token of this home.

    Raises:
        ServiceError: If its file is missing.
    """
    path = home / "secrets" / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        again = f"{betaline('down', home)}; {betaline('up', home)}"
        raise ServiceError(f"{path} is missing; stop the services and start them again: {again}") from None


def mlflow_login(home: Path, *, embedded: bool) -> dict[str, str]:
    """Returns the variables that log a client in to MLflow.

    Args:
        home: Folder with the password of the embedded server.
        embedded: Whether MLflow is the embedded server; otherwise the login is copied from this process's environment.
    """
    if not embedded:
        return {name: os.environ[name] for name in _MLFLOW_LOGIN if name in os.environ}
    return {"MLFLOW_TRACKING_USERNAME": MLFLOW_USER, "MLFLOW_TRACKING_PASSWORD": read_secret(home, "mlflow_password")}


def prefect(home: Path, ports: Ports, *, database: str | None = None) -> Launch:
    """Returns how to start the Prefect server, with its scheduler and UI, behind basic authentication.

    Args:
        home: Folder of the tokens, the settings and the default database.
        ports: Ports to listen on.
        database: SQLAlchemy URL; None means SQLite in HOME/prefect.db.
    """
    url = f"http://{LOOPBACK}:{ports.prefect}"
    auth = read_secret(home, "prefect_auth")
    if database is None:
        make_database("prefect", home / "prefect.db")
    environment = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_API_AUTH_STRING": auth,  # its own services are clients too
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"{url},http://localhost:{ports.prefect}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ENCRYPTION_KEY": read_secret(home, "prefect_encryption_key"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database or f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        # In memory, leases would end with the server, and a run that cannot renew its lease ends itself.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
    }
    command = [
        *(sys.executable, "-m", "prefect", "server", "start"),
        *("--host", LOOPBACK, "--port", str(ports.prefect), "--analytics-off"),
    ]
    return Launch(
        name="prefect",
        command=command,
        environment=_server_environment(environment),
        is_ready=lambda: is_healthy(f"{url}/api"),
    )


def mlflow(home: Path, ports: Ports, *, database: str | None = None, artifacts: str | None = None) -> Launch:
    """Returns how to start the MLflow server behind basic authentication.

    The server passes artifacts through, so clients need nothing but HTTP.

    Args:
        home: Folder of the password, the default database and the default artifacts.
        ports: Ports to listen on.
        database: SQLAlchemy URL; None means SQLite in HOME/mlflow.db.
        artifacts: Folder or URI of the artifacts; None means HOME/artifacts.
    """
    url = f"http://{LOOPBACK}:{ports.mlflow}"
    if database is None:
        make_database("mlflow", home / "mlflow.db")
    command = [
        # -P: the folder of the script is none to import from.
        *(sys.executable, "-P", str(Path(__file__).with_name("mlflow_server.py"))),
        *("--host", LOOPBACK, "--port", str(ports.mlflow)),
        *("--artifacts-destination", artifacts or str(home / "artifacts")),
        # The check is exact, port included; the defaults accept every name that looks like a private address.
        *("--allowed-hosts", f"{LOOPBACK}:{ports.mlflow},localhost:{ports.mlflow}"),
        *("--cors-allowed-origins", f"{url},http://localhost:{ports.mlflow}"),
        # One process: SQLite has one writer, and the first start migrates the database without a lock.
        *("--workers", "1"),
        *("--app-name", "basic-auth"),
    ]
    # MLflow keeps its users with hashed passwords; an empty file makes it add the user with the home's present password.
    users = home / "secrets" / "mlflow_users.db"
    users.unlink(missing_ok=True)
    users.touch(mode=0o600)
    environment = _server_environment(_mlflow_settings(home, database))
    return Launch(name="mlflow", command=command, environment=environment, is_ready=lambda: is_healthy(url))


def _mlflow_settings(home: Path, database: str | None) -> dict[str, str]:
    return {
        # Not an argument: a database's URL holds a password, and every user of the machine can read arguments.
        "MLFLOW_BACKEND_STORE_URI": database or f"sqlite:///{home / 'mlflow.db'}",
        # Evaluation jobs for language models: seven idle Python processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # One connection per thread: a request that waits 30 s for one is answered with 400, which no client retries.
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "40",
        "MLFLOW_AUTH_CONFIG_PATH": str(Path(__file__).with_name("mlflow_users.ini")),
        "MLFLOW_AUTH_ADMIN_USERNAME": MLFLOW_USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": read_secret(home, "mlflow_password"),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",  # a route without a rule of its own is closed
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),  # signs the forms of its page for new users
    }


def ray(home: Path, ports: Ports, *, login: Mapping[str, str], num_cpus: int | None = None) -> Launch:
    """Returns how to start a Ray head node that listens on loopback alone and asks every caller for the home's token.

    Args:
        home: Folder of the token; its digest also names the folder for sockets and logs.
        ports: Ports to listen on.
        login: Variables that log jobs in to MLflow. Jobs inherit them from the head: a job's own runtime environment is
            written to Ray's logs and, while a worker starts, to its command line.
        num_cpus: CPUs that the head may hand out; None means those of the machine.
    """
    address = f"http://{LOOPBACK}:{ports.ray_dashboard}"
    token_path = home / "secrets" / "ray_token"
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address", LOOPBACK, "--port", str(ports.ray_gcs)),
        *("--dashboard-host", LOOPBACK, "--dashboard-port", str(ports.ray_dashboard)),
        *("--ray-client-server-port", str(ports.ray_client)),
        # 0 lets Ray choose: the defaults are fixed, and a second head would find them in use.
        *("--dashboard-agent-listen-port", "0", "--min-worker-port", "0", "--max-worker-port", "0"),
        *("--object-store-memory", str(OBJECT_STORE_BYTES), "--temp-dir", str(ray_folder(home))),
        *("--disable-usage-stats", "--log-style", "record", "--log-color", "false"),
        *(("--num-cpus", str(num_cpus)) if num_cpus is not None else ()),
    ]
    return Launch(
        name="ray",
        command=command,
        environment=_server_environment({**_ray_settings(address, token_path), **login}),
        is_ready=lambda: ray_is_ready(address, token_path.read_text().strip()),
    )


def _ray_settings(address: str, token_path: Path) -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        # `ray start` replaces 127.0.0.1 by the machine's outward address, and what it starts then listens on
        # every interface. This switch, made for systems that cannot form clusters, keeps the loopback one.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Nice 15, the default, costs a fifth of a training loop's throughput on a small machine.
        "RAY_worker_niceness": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Even then Ray reports that it is disabled, to its makers. Nobody listens here.
        "RAY_USAGE_STATS_REPORT_URL": f"http://{LOOPBACK}:1",
        # Ray Train asks the dashboard which processes live. Without this address it looks for a head on the machine, and
        # gives up if it finds two, so that the cleaner of a stopped run stays behind.
        "RAY_API_SERVER_ADDRESS": address,
        # A job that is stopped may end its runs in order: Ray Train and Python take SIGINT as an interrupt.
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": "8",
        # Age in seconds that the counts of free CPUs may reach; 5 by default.
        "AUTOSCALER_UPDATE_INTERVAL_S": "2",
        # Work of an idle head: how often it looks for new logs, and how often it measures itself.
        "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
        "LOG_NAME_UPDATE_INTERVAL_S": "1",
        "REPORTER_UPDATE_INTERVAL_MS": "15000",
        "METRICS_RECORD_INTERVAL_S": "60",
    }


def temporary_trouble() -> str | None:
    """Returns why Ray cannot use the folder for temporary files, whose sockets have at most 107 bytes; None if it can."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) <= _LONGEST_TEMPORARY_FOLDER:
        return None
    return (
        f"the folder for temporary files has a name of {len(folder)} characters, {folder}, and Ray's sockets in it take at "
        f"most {_LONGEST_TEMPORARY_FOLDER}; set TMPDIR to a shorter one, such as /tmp"
    )


def ray_folder(home: Path) -> Path:
    """Makes and returns the folder of Ray's sockets and logs, a short path: that of a Unix socket has at most 107 bytes.

    Raises:
        ServiceError: If the folder belongs to another user.
    """
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) + 1 + len("betaline-") + len(digest) > _LONGEST_RAY_FOLDER:
        parent = Path("/tmp")
    folder = parent / f"betaline-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid():
        raise ServiceError(f"{folder} belongs to another user; remove it, or set TMPDIR to a folder of your own")
    folder.chmod(0o700)
    return folder


def is_healthy(url: str) -> bool:
    """Returns whether a Prefect API or an MLflow server answers its health check."""
    return _get(f"{url}/health") is not None


def ray_is_ready(address: str, token: str) -> bool:
    """Returns whether a Ray head takes jobs: its dashboard answers, and its own node is alive."""
    body = _get(f"{address}/api/v0/nodes", {"Authorization": f"Bearer {token}"})
    if body is None:
        return False
    nodes = (json.loads(body).get("data") or {}).get("result", {}).get("result", [])
    return any(node["state"] == "ALIVE" for node in nodes)


def _get(url: str, headers: Mapping[str, str] | None = None) -> bytes | None:
    """Returns the body of a 200 answer; None for any other answer, or none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, never through a proxy
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=5) as answer:
            return answer.read() if answer.status == 200 else None
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def _server_environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_CLIENT_PREFIXES)}
    return {**kept, **spared(environment=kept), **extra, "PYTHONUNBUFFERED": "1"}
