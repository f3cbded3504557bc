"""Steps of two to four machines over links of several rates and delays, a model of them, and larger clusters by it."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.page import Claim, Table, grid, read_words
from tests.benchmarks.scale.cost import Cost, Point, fit
from tests.benchmarks.scale.links import Link, network
from tests.benchmarks.scale.node import COMPUTE_SECONDS, NodeSpec
from tests.benchmarks.work import Figures, Job, Outcome
from tests.servers import ROOT

NODES, GIGABITS, DELAYS, ROUNDS, STEPS = (2, 3, 4), (1.0, 10.0), (1e-4, 1e-3), 5, 15
WEIGHTS = (100_000, 830_000, 3_000_000)
TOLERANCE = 0.15
MEETING_PORT = 29_600


class Setting(NamedTuple):
    """Machines and their links."""

    nodes: int
    gigabits: float
    delay: float

    @property
    def name(self) -> str:
        """Machines, rate and delay in words."""
        return f"{self.nodes} machines, {self.gigabits:.0f} Gbit/s, {1e3 * self.delay:g} ms"


SETTINGS = tuple(Setting(*one) for one in ((n, g, d) for n in NODES for g in GIGABITS for d in DELAYS))


class Cluster(NamedTuple):
    """Published figures of an interconnect."""

    name: str
    gpus_of_node: int
    inside: float
    """Bytes a second of a GPU to others of its node, in one direction."""
    between: float
    """Bytes a second of a GPU to other nodes, in one direction."""
    inside_seconds: float
    """Latency of a message inside a node."""
    between_seconds: float
    """Latency of a message between nodes."""
    start_seconds: float
    """Seconds of an all-reduce beside its messages."""


CLUSTERS = (
    Cluster("NVLink 4 and InfiniBand NDR", 8, 380e9, 50e9, 3.4e-6, 9.6e-6, 8.4e-6),
    Cluster("PCIe 4 and 100 Gbit/s Ethernet", 8, 24e9, 12.5e9 / 8, 5.7e-6, 50e-6, 8.4e-6),
)
GPUS, STEP_SECONDS, MODELS = (
    (8, 64, 512),
    (0.002, 0.02),
    {"MLP, 0.83 million weights": 830_000, "30 million weights": 30_000_000},
)


def table(home: Path, num_seeds: int | None) -> Table:
    """Returns the table to fill in."""
    rounds = range(num_seeds or ROUNDS)
    jobs = [Job(one.name, "steps", number, partial(_measure, one), -number) for number in rounds for one in SETTINGS]
    return Table(read_words("scale-network", globals()), jobs, _render, _claims)


def _measure(setting: Setting) -> Figures:
    """Takes steps on the machines of a setting with every number of weights."""
    with network(setting.nodes, Link(setting.gigabits, setting.delay)) as nodes:
        meeting = f"{nodes[0].address}:{MEETING_PORT}"
        specs = [NodeSpec(rank, setting.nodes, meeting, WEIGHTS, STEPS) for rank in range(setting.nodes)]
        inside = [["ip", "netns", "exec", node.namespace] for node in nodes]
        ranks = [_start(spec, words) for spec, words in zip(specs, inside, strict=True)]
        answers = [json.loads(_answer(rank)) for rank in ranks]
    figures = {"message": answers[0]["message_seconds"]}
    for place, weights in enumerate(WEIGHTS):
        summed = [answer["summed"][place] for answer in answers]
        figures |= {
            f"step {weights}": max(one["step_seconds"] for one in summed),
            f"sent {weights}": statistics.fmean(one["sent_bytes"] for one in summed),
            f"processor {weights}": statistics.fmean(one["processor_seconds"] for one in summed),
        }
    return figures


def _start(spec: NodeSpec, inside: Sequence[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "eth0"}
    command = [*inside, sys.executable, "-m", "tests.benchmarks.scale.node", json.dumps(asdict(spec))]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=ROOT, **pipes)


def _answer(rank: subprocess.Popen[str]) -> str:
    answer, error = rank.communicate(timeout=120)
    if rank.returncode:
        raise RuntimeError(error)
    return answer


class Measured(NamedTuple):
    """A point, and what was measured there, as medians of the rounds."""

    setting: Setting
    weights: int
    point: Point
    rounds: Sequence[float]
    """Seconds of a step in each round."""
    sent: float

    @property
    def seconds(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.rounds)


def _measured(outcomes: Sequence[Outcome]) -> list[Measured]:
    """Returns every point in a fixed order."""
    found: list[Measured] = []
    for setting in SETTINGS:
        own = [outcome.figures for outcome in outcomes if outcome.row == setting.name]
        for weights in WEIGHTS:
            message, sent = (statistics.median(one[key] for one in own) for key in ("message", f"sent {weights}"))
            point = Point(setting.nodes, setting.gigabits * 1e9 / 8, message, 4.0 * weights, COMPUTE_SECONDS)
            found.append(Measured(setting, weights, point, [one[f"step {weights}"] for one in own], sent))
    return found


def _fitted(measured: Sequence[Measured]) -> tuple[Cost, Cost]:
    """Returns the model fitted to every second point, and to the others."""
    halves = measured[::2], measured[1::2]
    first, second = (fit([one.point for one in half], [one.seconds for one in half]) for half in halves)
    return first, second


def _errors(cost: Cost, measured: Sequence[Measured]) -> list[float]:
    return [cost.seconds(one.point) / one.seconds - 1 for one in measured]


def _render(outcomes: Sequence[Outcome]) -> str:
    measured = _measured(outcomes)
    cost, _ = _fitted(measured)
    header = (
        "machines and links", "a small message, ms", "weights", "sent by each machine in a step, MB",
        "of that in a ring, MB", "ms of a step", "by the model", "error", "role",
    )  # fmt: skip
    lines: list[list[str]] = []
    for number, one in enumerate(measured):
        ms, modelled = [1e3 * seconds for seconds in one.rounds], cost.seconds(one.point)
        step = f"{statistics.median(ms):.1f} ({min(ms):.1f} to {max(ms):.1f})"
        sizes = [f"{one.sent / 1e6:.2f}", f"{one.point.sent / 1e6:.2f}"]
        error, role = f"{100 * (modelled / one.seconds - 1):+.0f} %", "check" if number % 2 else "fit"
        first = [one.setting.name, f"{1e3 * one.point.latency:.2f}", f"{one.weights:,}"]
        lines.append([*first, *sizes, step, f"{1e3 * modelled:.1f}", error, role])
    return "\n\n".join(
        [grid(header, lines), "### The model", _formula(cost), "### Larger clusters", _predictions(cost)]
    )


def _formula(cost: Cost) -> str:
    return (
        f"t(N) = computing + {1e3 * cost.overhead:.1f} ms + {cost.rounds:.2f} · latency · 2(N − 1) + bytes · 2(N − 1)/N / "
        f"bandwidth, where the bandwidth is that of the link, or what the two processors carry among N machines: "
        f"{1e-9 / cost.handling:.2f} GB for each processor second."
    )


def predicted(cluster: Cluster, rounds: float, gpus: int, weights: int) -> Mapping[str, float]:
    """Returns the seconds of the parts of a step's all-reduces on GPUs, of whose latencies NCCL takes the least.

    Args:
        cluster: The interconnect.
        rounds: All-reduces that follow each other.
        gpus: Number of GPUs, in full nodes.
        weights: Number of weights, of four bytes each.
    """
    inside, nodes = min(gpus, cluster.gpus_of_node), max(1, gpus // cluster.gpus_of_node)
    ring = 2 * ((gpus - nodes) * cluster.inside_seconds + (nodes - 1) * cluster.between_seconds)
    tree = 2 * ((inside - 1) * cluster.inside_seconds + math.log2(nodes) * cluster.between_seconds)
    rate = cluster.inside if nodes == 1 else min(cluster.inside, cluster.between)
    sent = 2 * (gpus - 1) / gpus * 4 * weights
    return {"latency": rounds * (cluster.start_seconds + min(ring, tree)), "bandwidth": sent / rate}


def _predictions(cost: Cost) -> str:
    header = ("interconnect", "model", "computing, ms", *(f"{gpus} GPUs" for gpus in GPUS))
    lines: list[list[str]] = []
    for cluster in CLUSTERS:
        for name, weights in MODELS.items():
            for compute in STEP_SECONDS:
                cells: list[str] = []
                for gpus in GPUS:
                    parts = {"computing": compute, **predicted(cluster, cost.rounds, gpus, weights)}
                    shares = {part: seconds / sum(parts.values()) for part, seconds in parts.items()}
                    most = max(shares, key=lambda part: shares[part])
                    cells.append(f"{gpus * shares['computing']:.3g} times one; {most} {100 * shares[most]:.0f} %")
                lines.append([cluster.name, name, f"{1e3 * compute:.0f}", *cells])
    return grid(header, lines)


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    measured = _measured(outcomes)
    first, second = _fitted(measured)
    told = [one._replace(point=replace(one.point, latency=one.setting.delay)) for one in measured]
    as_told = _fitted(told)
    return [
        _within("the model, fitted to every second point, on the other points", _errors(first, measured[1::2])),
        _within("the same with the halves exchanged", _errors(second, measured[::2])),
        _within("the first, with the delay that was asked for as the latency", _errors(as_told[0], told[1::2])),
        _within("the second, with the delay that was asked for as the latency", _errors(as_told[1], told[::2])),
    ]


def _within(text: str, errors: Sequence[float]) -> Claim:
    sizes = [abs(error) for error in errors]
    inside = sum(bool(size <= TOLERANCE) for size in sizes)
    found = f"{inside} of {len(sizes)}, worst {100 * max(sizes):.0f} %, median {100 * statistics.median(sizes):.0f} %"
    return Claim(text, f"all within {100 * TOLERANCE:.0f} %", found, inside == len(sizes))
