"""How each embedded service is started, what it may listen to, and when it is ready."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.services.process import LOOPBACK, NUM_PORTS, free_port
from vae.errors import ServiceError

NAMES = ("prefect", "mlflow", "ray")
OBJECT_STORE_BYTES = 1 << 30
# A client's settings must not reach the servers: PREFECT_API_URL would make the server a client of another.
_CLIENT_PREFIXES = ("PREFECT_", "MLFLOW_", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_", "RAY_JOB_")
# What Ray adds, session_DATE_TIME_MICROSECONDS_PID/sockets/plasma_store, must fit a Unix socket's 107 bytes.
_LONGEST_RAY_FOLDER = 40
MLFLOW_USER = "betaline"
# What leads a client past the login of an MLflow server.
_MLFLOW_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@dataclass(frozen=True, kw_only=True)
class Ports:
    """One port of loopback for each listener that clients look for; Ray chooses the others itself."""

    prefect: int
    mlflow: int
    ray_dashboard: int
    ray_gcs: int
    ray_client: int


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What starting one service takes."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    """Passwords included."""
    is_ready: Callable[[], bool]


def choose_ports(home: Path) -> Ports:
    """Free ports, derived from the home: a restart finds the same ones, and two homes do not collide."""
    taken: set[int] = set()

    def near(name: str) -> int:
        digest = hashlib.sha256(f"{home}/{name}".encode()).digest()
        return free_port(int.from_bytes(digest[:4], "big") % NUM_PORTS, taken)

    return Ports(
        prefect=near("prefect"),
        mlflow=near("mlflow"),
        ray_dashboard=near("ray dashboard"),
        ray_gcs=near("ray gcs"),
        ray_client=near("ray client"),
    )


def make_secrets(home: Path) -> None:
    """Draw the tokens of a home once; files of mode 600 in a folder of mode 700."""
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
        path = folder / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            path.chmod(0o600)
            continue
        with os.fdopen(descriptor, "w") as file:
            file.write(value)


def read_secret(home: Path, name: str) -> str:
    """A token of this home.

    Raises:
        ServiceError: If there is none.
    """
    path = home / "secrets" / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise ServiceError(f"{path} is missing; stop the services (betaline down) and start them again") from None


def mlflow_login(home: Path, *, embedded: bool) -> dict[str, str]:
    """What leads past the login of the home's own MLflow server, or of the one that the environment names."""
    if not embedded:
        return {name: os.environ[name] for name in _MLFLOW_LOGIN if name in os.environ}
    return {"MLFLOW_TRACKING_USERNAME": MLFLOW_USER, "MLFLOW_TRACKING_PASSWORD": read_secret(home, "mlflow_password")}


def prefect(home: Path, ports: Ports, *, database: str | None = None) -> Launch:
    """The Prefect server with its scheduler and its UI, behind basic authentication; over HOME/prefect.db unless told
    otherwise.
    """
    url = f"http://{LOOPBACK}:{ports.prefect}"
    auth = read_secret(home, "prefect_auth")
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
        # In memory, leases would go with the server: a run that is to renew one which is gone ends itself.
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
        is_ready=lambda: prefect_is_ready(f"{url}/api"),
    )


def mlflow(home: Path, ports: Ports, *, database: str | None = None, artifacts: str | None = None) -> Launch:
    """The MLflow server behind basic authentication, over HOME/mlflow.db and HOME/artifacts unless told otherwise.

    It passes artifacts through, so that clients need HTTP alone.
    """
    url = f"http://{LOOPBACK}:{ports.mlflow}"
    hosts = f"{LOOPBACK}:{ports.mlflow},localhost:{ports.mlflow}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(ports.mlflow)),
        *("--artifacts-destination", artifacts or str(home / "artifacts")),
        # The check is exact, port included; the defaults accept every name that looks like a private address.
        *("--allowed-hosts", hosts),
        *("--cors-allowed-origins", f"{url},http://localhost:{ports.mlflow}"),
        # One process: SQLite has one writer, and the first start migrates the database without a lock.
        *("--workers", "1"),
        *("--app-name", "basic-auth"),
    ]
    # Users are kept with their passwords' hashes; this one is made anew, with the password that the home has now.
    users = home / "secrets" / "mlflow_users.db"
    users.unlink(missing_ok=True)
    users.touch(mode=0o600)
    environment = {
        # Not an argument: a database's URL holds a password, and every user of the machine can read arguments.
        "MLFLOW_BACKEND_STORE_URI": database or f"sqlite:///{home / 'mlflow.db'}",
        # Evaluation jobs for language models: seven idle Python processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # A connection for each thread: one that waits 30 s for its turn answers 400, which no client tries again.
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "40",
        "MLFLOW_AUTH_CONFIG_PATH": str(Path(__file__).with_name("mlflow_users.ini")),
        "MLFLOW_AUTH_ADMIN_USERNAME": MLFLOW_USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": read_secret(home, "mlflow_password"),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",  # a route that nobody thought of is closed
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),  # signs the forms of its page for new users
    }
    return Launch(
        name="mlflow",
        command=command,
        environment=_server_environment(environment),
        is_ready=lambda: mlflow_is_ready(url),
    )


def ray(home: Path, ports: Ports, *, login: Mapping[str, str], num_cpus: int | None = None) -> Launch:
    """A Ray head node that listens on loopback alone and asks every caller for the home's token.

    Args:
        home: Of the token, and by its digest of the folder for sockets and logs.
        ports: Where it listens.
        login: Variables that lead its jobs to MLflow. They inherit them from the head: what a job brings along in its
            runtime environment stands in Ray's logs and, while a worker starts, in its command line.
        num_cpus: CPUs that it may hand out; None means the machine's.
    """
    address = f"http://{LOOPBACK}:{ports.ray_dashboard}"
    token_path = home / "secrets" / "ray_token"
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        # `ray start` replaces 127.0.0.1 by the machine's outward address, and what it starts then listens on
        # every interface. This switch, made for systems that cannot form clusters, keeps the loopback one.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Nice 15, the default, costs a fifth of a training loop's throughput on a small machine.
        "RAY_worker_niceness": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray Train asks the dashboard who lives. Without this it looks for a head on the machine, and gives up if
        # it finds two, so that a stopped run's cleaner stays behind.
        "RAY_API_SERVER_ADDRESS": address,
        # A job that is stopped may end its runs in order: Ray Train and Python take SIGINT as an interrupt.
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": "8",
        # How old, in seconds, the counts of free CPUs may be; 5 by default.
        "AUTOSCALER_UPDATE_INTERVAL_S": "2",
        # What it does while nobody asks anything of it: how often it looks for new logs, and what it measures itself by.
        "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
        "LOG_NAME_UPDATE_INTERVAL_S": "1",
        "REPORTER_UPDATE_INTERVAL_MS": "15000",
        "METRICS_RECORD_INTERVAL_S": "60",
        **login,
    }
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address", LOOPBACK, "--port", str(ports.ray_gcs)),
        *("--dashboard-host", LOOPBACK, "--dashboard-port", str(ports.ray_dashboard)),
        *("--ray-client-server-port", str(ports.ray_client)),
        # 0 lets Ray choose: the defaults are fixed, and a second head would find them in use.
        *("--dashboard-agent-listen-port", "0", "--min-worker-port", "0", "--max-worker-port", "0"),
        *("--object-store-memory", str(OBJECT_STORE_BYTES), "--temp-dir", str(ray_folder(home))),
        *("--disable-usage-stats", "--log-style", "record", "--log-color", "false"),
    ]
    if num_cpus is not None:
        command += ["--num-cpus", str(num_cpus)]
    return Launch(
        name="ray",
        command=command,
        environment=_server_environment(environment),
        is_ready=lambda: ray_is_ready(address, token_path.read_text().strip()),
    )


def ray_folder(home: Path) -> Path:
    """Where Ray keeps sockets and logs: a short path, because a Unix socket's is limited to 107 bytes.

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


def sweep_ray_folder(home: Path) -> None:
    """Remove what earlier Ray heads of this home left; call it when none is running."""
    for path in ray_folder(home).iterdir():
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            # A log that cannot be removed must not keep the next head from starting.
            shutil.rmtree(path, ignore_errors=True)


def prefect_is_ready(api_url: str) -> bool:
    """Whether a Prefect server answers its health check."""
    return _get(f"{api_url}/health") is not None


def mlflow_is_ready(url: str) -> bool:
    """Whether an MLflow server answers its health check."""
    return _get(f"{url}/health") is not None


def ray_is_ready(address: str, token: str) -> bool:
    """Whether a head node takes jobs: its dashboard answers, and its own node is alive."""
    body = _get(f"{address}/api/v0/nodes", {"Authorization": f"Bearer {token}"})
    if body is None:
        return False
    nodes = (json.loads(body).get("data") or {}).get("result", {}).get("result", [])
    return any(node["state"] == "ALIVE" for node in nodes)


def _get(url: str, headers: Mapping[str, str] | None = None) -> bytes | None:
    """The body of a 200 answer, or None while there is no such answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, never through a proxy
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=5) as answer:
            return answer.read() if answer.status == 200 else None
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def _server_environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_CLIENT_PREFIXES)}
    return {**kept, **extra, "PYTHONUNBUFFERED": "1"}
