"""Processes this package starts, known by pid and creation time, and ended as whole trees."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOPBACK = "127.0.0.1"
# Below the kernel's ephemeral ports: no outgoing connection takes a port between its choice and its use.
FIRST_PORT, NUM_PORTS = 20_000, 12_000


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that was started here: a pid alone may have been given to another since."""

    name: str
    pid: int
    create_time: float
    """Seconds since the epoch, as the kernel counts them."""
    log: str
    """Path of the file that holds what it printed."""


def spawn(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, directory: Path) -> Process:
    """Start a process in a session of its own, so that a terminal's Ctrl-C and exit pass it by."""
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
    try:
        created = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0  # it is gone already: the wait for its health will say so
    # The process outlives this object on purpose; without a return code Popen warns when it is collected.
    child.returncode = 0
    return Process(name=name, pid=child.pid, create_time=created, log=str(log))


def find(process: Process) -> psutil.Process | None:
    """The live process behind a record, or None when it has ended or its pid belongs to another by now."""
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.create_time) < 0.01
        if not same:
            return None
        if found.status() == psutil.STATUS_ZOMBIE:
            _reap(process.pid)
            return None
    except psutil.NoSuchProcess:
        return None
    return found


def tree(process: Process) -> list[psutil.Process]:
    """The live processes of a record: itself, its descendants, and what they left behind in its session."""
    root = find(process)
    members: dict[int, psutil.Process] = {}
    if root is not None:
        members[root.pid] = root
    elif psutil.pid_exists(process.pid) and not _is_zombie(process.pid):
        return []  # the pid was given to another process, so the session has ended long ago
    for candidate in psutil.process_iter():
        try:
            if os.getsid(candidate.pid) == process.pid and candidate.status() != psutil.STATUS_ZOMBIE:
                members[candidate.pid] = candidate
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    for member in list(members.values()):
        try:
            members.update({child.pid: child for child in member.children(recursive=True)})
        except psutil.NoSuchProcess:
            continue
    return list(members.values())


def end(processes: Iterable[Process], *, limit_seconds: float = 6.0) -> None:
    """End processes and everything they started: SIGTERM to each root, then to the rest, then SIGKILL.

    The roots come first because `ray start`, `mlflow server` and `prefect server` take their own children
    down in order. Ends nothing but the recorded processes and their trees.
    """
    processes = list(processes)
    members = {member.pid: member for process in processes for member in tree(process)}
    roots = [root for process in processes if (root := find(process)) is not None]
    deadline = time.monotonic() + limit_seconds
    _signal(roots, signal.SIGTERM)
    left = _wait(members.values(), min(deadline, time.monotonic() + limit_seconds / 2))
    # A second look: what was started, or left its parent, since the first.
    members = {member.pid: member for process in processes for member in tree(process)}
    members |= {member.pid: member for member in left}
    _signal(members.values(), signal.SIGTERM)
    left = _wait(members.values(), deadline)
    _signal(left, signal.SIGKILL)
    _wait(left, time.monotonic() + 5.0)
    for process in processes:
        _reap(process.pid)


def listeners(process: Process) -> list[tuple[psutil.Process, str, int]]:
    """Every (process, address, port) that a record's tree listens on."""
    found = []
    for member in tree(process):
        try:
            sockets = member.net_connections(kind="inet")
        except psutil.NoSuchProcess:
            continue
        found += [(member, at.laddr.ip, at.laddr.port) for at in sockets if at.status == psutil.CONN_LISTEN]
    return found


def is_loopback(address: str) -> bool:
    """Whether an address, IPv4 within IPv6 included, is reachable from this machine alone."""
    return address.removeprefix("::ffff:").startswith("127.") or address == "::1"


def last_lines(log: str, num_lines: int = 20) -> str:
    """The end of a log file, for a message; the empty string when there is none."""
    path = Path(log)
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-num_lines:])


def free_port(preferred: int, taken: set[int]) -> int:
    """The first port of loopback from `preferred` on that nobody listens on; adds it to `taken`.

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
        try:
            member.send_signal(number)  # psutil checks the creation time once more
        except psutil.NoSuchProcess:
            continue


def _wait(members: Iterable[psutil.Process], deadline: float) -> list[psutil.Process]:
    """Wait for processes to end; returns those that live on. A zombie has ended: its parent may never ask."""
    left = list(members)
    while True:
        left = [member for member in left if _is_alive(member)]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.05)


def _is_alive(member: psutil.Process) -> bool:
    try:
        return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _reap(pid: int) -> None:
    """Take the exit status of a child of this process, which would stay a zombie otherwise."""
    with contextlib.suppress(ChildProcessError):  # one of another process, which is gone or takes it itself
        os.waitpid(pid, os.WNOHANG)
