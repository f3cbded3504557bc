"""Machines in network namespaces of this one, each with an address of its own and a cable that can be pulled out.

They share the processors and, but for folders of a command's own, the disk. Each has a network and a loopback of its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """A network namespace on a bridge."""

    name: str
    address: str
    cable: str
    """The bridge's end of its link."""

    def command(self, *words: str, own_folder: Path | None = None) -> list[str]:
        """Returns the command that runs another one there, with an empty folder of its own in place of a shared one."""
        # `ip netns exec` gives each command a table of mounts of its own.
        mounted = ("sh", "-c", 'mount -t tmpfs own "$0" && exec "$@"', str(own_folder)) if own_folder else ()
        return ["ip", "netns", "exec", self.name, *mounted, *words]

    def unplug(self) -> None:
        """Pulls its cable out: what it sends is lost without an error, and nothing reaches it."""
        _ip("link", "set", self.cable, "down")

    def plug(self) -> None:
        """Puts the cable in again."""
        _ip("link", "set", self.cable, "up")


def why_no_namespaces() -> str | None:
    """Returns why no namespace can be made here; None if one can."""
    name = f"probe{os.getpid()}"
    try:
        with _namespace(name):
            return None
    except FileNotFoundError:
        return "the command ip is not installed (Debian: iproute2)"
    except subprocess.CalledProcessError as error:
        return f"network namespaces need root and CAP_NET_ADMIN: {error.stderr.strip()}"


@contextmanager
def network(num_machines: int) -> Iterator[list[Machine]]:
    """Yields machines on one bridge, through which this process reaches them, and removes all of it afterwards."""
    # A link's name has 15 characters at most.
    prefix, third = f"bl{os.getpid()}", _free_subnet()
    with ExitStack() as stack:
        _ip("link", "add", prefix, "type", "bridge")
        stack.callback(_ip, "link", "delete", prefix)
        _ip("address", "add", f"10.77.{third}.1/24", "dev", prefix)
        _ip("link", "set", prefix, "up")
        machines = []
        for number in range(num_machines):
            machine = Machine(f"{prefix}m{number}", f"10.77.{third}.{10 + number}", f"{prefix}c{number}")
            stack.enter_context(_namespace(machine.name))
            _ip("link", "add", machine.cable, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
            _ip("link", "set", machine.cable, "master", prefix, "up")
            for words in (
                ("address", "add", f"{machine.address}/24", "dev", "eth0"),
                ("link", "set", "lo", "up"),
                ("link", "set", "eth0", "up"),
                ("route", "add", "default", "via", f"10.77.{third}.1"),
            ):
                _ip("-netns", machine.name, *words)
            machines.append(machine)
        yield machines


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    """Makes a namespace, which is removed with its links when the block ends."""
    _ip("netns", "add", name)
    try:
        yield
    finally:
        _ip("netns", "delete", name)


def _free_subnet() -> int:
    """Returns a number x for 10.77.x.0/24 that no link of this machine has."""
    taken = _ip("-4", "-oneline", "address", "show")
    return next(third for third in range(os.getpid() % 200, 255) if f" 10.77.{third}." not in taken)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
