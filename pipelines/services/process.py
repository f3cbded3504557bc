"""Processes that betaline starts: identified by pid and creation time, and ended together with everything they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOPBACK = "127.0.0.1"
# Below the kernel's ephemeral ports: no outgoing connection takes a port between its choice and its use.
FIRST_PORT, NUM_PORTS = 20_000, 12_000


@dataclass(frozen=True, kw_only=True)
class Process:
    """A started process. Its creation time tells it from a later process that was given the same pid."""

    name: str
    """Name of the service, such as "mlflow"."""
    pid: int
    """Process id; also the id of the session that the process leads."""
    create_time: float
    """Creation time in seconds since the epoch, as the kernel counts it."""
    log: str
    """Path of the file that holds its output."""


def spawn(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, directory: Path) -> Process:
    """Starts a process in a session of its own, which Ctrl-C in the terminal and the terminal's end do not reach."""
    with log.open("wb") as sink:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    created = 0.0  # stays 0 if the process has ended already, which the wait for its health will report
    with suppress(psutil.NoSuchProcess):
        created = psutil.Process(child.pid).create_time()
    # The process outlives this object on purpose; without a return code Popen warns when it is collected.
    child.returncode = 0
    return Process(name=name, pid=child.pid, create_time=created, log=str(log))


def find(process: Process) -> psutil.Process | None:
    """Returns the live process of a record; None if it has ended or its pid belongs to another process by now."""
    with suppress(psutil.NoSuchProcess):
        live = psutil.Process(process.pid)
        if abs(live.create_time() - process.create_time) >= 0.01:
            return None
        if live.status() != psutil.STATUS_ZOMBIE:
            return live
        with suppress(psutil.TimeoutExpired):
            live.wait(0)  # takes the exit status of a child of this process, which would stay a zombie otherwise
    return None


def tree(process: Process) -> list[psutil.Process]:
    """Returns the live processes of a record: itself, its descendants, and what they left behind in its session."""
    root = find(process)
    if root is None and _is_alive(process.pid):
        return []  # another process has the pid, so the session has ended long ago
    members = {root} if root else set[psutil.Process]()
    for candidate in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(candidate.pid) == process.pid and candidate.status() != psutil.STATUS_ZOMBIE:
                members.add(candidate)
    for member in list(members):
        with suppress(psutil.NoSuchProcess):
            members.update(member.children(recursive=True))
    return list(members)


def end(processes: Iterable[Process], *, limit_seconds: float = 6.0) -> None:
    """Ends processes and everything they started, and nothing else.

    SIGTERM goes to the roots first, because `ray start`, `mlflow server` and `prefect server` end their own children in
    order; then to whatever is still alive; then SIGKILL.

    Args:
        processes: The roots.
        limit_seconds: Seconds until SIGKILL.
    """
    processes = list(processes)
    members = {member for process in processes for member in tree(process)}
    deadline = time.monotonic() + limit_seconds
    _signal(filter(None, map(find, processes)), signal.SIGTERM)
    alive = _wait(members, limit_seconds / 2)
    # A second look: some were started, or left their parent, since the first.
    alive |= {member for process in processes for member in tree(process)}
    _signal(alive, signal.SIGTERM)
    alive = _wait(alive, deadline - time.monotonic())
    _signal(alive, signal.SIGKILL)
    _wait(alive, 5.0)
    for process in processes:
        find(process)  # takes the exit status of a child of this process


def listeners(process: Process) -> list[tuple[psutil.Process, str, int]]:
    """Returns every (process, address, port) that a record's processes listen on."""
    sockets = []
    for member in tree(process):
        with suppress(psutil.NoSuchProcess):
            sockets += [(member, one) for one in member.net_connections(kind="inet")]
    return [(member, one.laddr.ip, one.laddr.port) for member, one in sockets if one.status == psutil.CONN_LISTEN]


def is_loopback(address: str) -> bool:
    """Returns whether only this machine can reach an address; recognises IPv4 addresses mapped into IPv6."""
    return address.removeprefix("::ffff:").startswith("127.") or address == "::1"


def last_lines(log: str, num_lines: int = 20) -> str:
    """Returns the last lines of a log file; the empty string if the file does not exist."""
    path = Path(log)
    return "\n".join(path.read_text(errors="replace").splitlines()[-num_lines:]) if path.exists() else ""


def free_port(preferred: int, taken: set[int]) -> int:
    """Returns the first loopback port, counted from `preferred`, that nobody listens on, and adds it to `taken`.

    Raises:
        OSError: If every port of the range is in use.
    """
    for offset in range(NUM_PORTS):
        port = FIRST_PORT + (preferred + offset) % NUM_PORTS
        if port in taken:
            continue
        with socket.socket() as probe:
            # As servers do: a port whose last connections linger in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise OSError(f"no free port on {LOOPBACK} from {FIRST_PORT} to {FIRST_PORT + NUM_PORTS - 1}")


def _signal(members: Iterable[psutil.Process], number: int) -> None:
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(number)  # psutil checks the creation time once more


def _wait(members: Iterable[psutil.Process], limit_seconds: float) -> set[psutil.Process]:
    """Waits for processes to end; returns those still alive.

    A zombie has ended: its parent may never ask for it, so `psutil.wait_procs` would wait in vain.
    """
    deadline = time.monotonic() + limit_seconds
    while alive := {member for member in members if _is_alive(member.pid)}:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    return alive


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
