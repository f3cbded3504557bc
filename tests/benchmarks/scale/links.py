"""Machines in network namespaces whose links have a rate and a delay: `python -m tests.benchmarks.scale.links DELAY FD …`.

The kernel limits the rate of what each machine sends (`tc … tbf`). Not every kernel can delay packets (`sch_netem`), so the
machines' links end in this program: it carries each frame to the machine that it is for, after the delay. Frames have up to
64 kB, so that there are few of them to carry.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.cluster.namespaces import _ip, _namespace
from tests.servers import ROOT

MTU = 65_000
_TUNSETIFF, _TAP_WITHOUT_HEADER = 0x400454CA, 0x1002
_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True)
class Link:
    """The link of each machine."""

    gigabits: float
    """Rate of what the machine sends, in 10⁹ bits a second."""
    delay_seconds: float
    """Time that a frame takes from one machine to another, beside its sending."""


@dataclass(frozen=True)
class Node:
    """A machine on the network."""

    namespace: str
    address: str


@contextmanager
def network(num_nodes: int, link: Link) -> Iterator[list[Node]]:
    """Yields machines that reach each other over such links, and removes all of it when the block ends."""
    prefix, nodes, ends = f"bs{os.getpid()}", list[Node](), list[int]()
    with ExitStack() as stack:
        for number in range(num_nodes):
            node = Node(f"{prefix}n{number}", f"10.78.0.{10 + number}")
            stack.enter_context(_namespace(node.namespace))
            ends.append(_tap(f"{prefix}t{number}", node))
            stack.callback(os.close, ends[-1])
            words = ["rate", f"{link.gigabits}gbit", "burst", "256kb", "limit", "64mb"]
            command = ["tc", "-netns", node.namespace, "qdisc", "add", "dev", "eth0", "root", "tbf", *words]
            subprocess.run(command, check=True, capture_output=True)
            nodes.append(node)
        switch = [sys.executable, "-m", "tests.benchmarks.scale.links", str(link.delay_seconds), *map(str, ends)]
        process = subprocess.Popen(switch, pass_fds=ends, cwd=ROOT)
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield nodes


def _tap(name: str, node: Node) -> int:
    """Makes the link `eth0` of a machine; returns its other end, a file of frames."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
    _ip("link", "set", name, "netns", node.namespace, "name", "eth0")
    for words in (
        ("link", "set", "eth0", "mtu", str(MTU)),
        ("address", "add", f"{node.address}/24", "dev", "eth0"),
        ("link", "set", "lo", "up"),
        ("link", "set", "eth0", "up"),
    ):
        _ip("-netns", node.namespace, *words)
    return end


def carry(delay_seconds: float, ends: Sequence[int]) -> None:
    """Carries frames between the ends of links for ever; a frame for a machine not yet heard of goes to all others."""
    # Without slack the kernel ends a sleep when it is due, not up to 50 µs later.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    heard: dict[bytes, int] = {}
    waiting: deque[tuple[float, list[int], bytes]] = deque()
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for end in select.select(ends, [], [], pause)[0]:
            try:
                frame = os.read(end, MTU + 64)
            except BlockingIOError:
                continue
            heard[frame[6:12]] = end
            others = [heard[frame[:6]]] if frame[:6] in heard else [other for other in ends if other != end]
            waiting.append((time.monotonic() + delay_seconds, others, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, others, frame = waiting.popleft()
            for other in others:
                os.write(other, frame)


if __name__ == "__main__":
    carry(float(sys.argv[1]), [int(end) for end in sys.argv[2:]])
