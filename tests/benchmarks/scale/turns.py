"""Trainings that take turns on one machine, block by block, and how its processors were used meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.benchmarks.scale.trainer import Block, Rank
from tests.servers import ROOT


class Turn(NamedTuple):
    """One block of all ranks of a training."""

    blocks: Sequence[Block]
    busy: float
    """Processor seconds that the machine did not idle in, of all programs."""

    @property
    def step_seconds(self) -> float:
        """Seconds of a step by the clock, of the slowest rank."""
        return max(block.wall / block.steps for block in self.blocks)

    @property
    def foreign(self) -> float:
        """Share of the machine's processors that other programs took."""
        own = sum(block.training + block.others for block in self.blocks)
        return max(0.0, self.busy - own) / (max(block.wall for block in self.blocks) * (os.cpu_count() or 1))


@dataclass
class Group:
    """The processes of a training, or several trainings that run at the same time without knowing of each other."""

    processes: Sequence[subprocess.Popen[str]]

    def turn(self) -> Turn:
        """Runs one block."""
        before = _busy()
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        blocks = [Block(**json.loads(_line(process))) for process in self.processes]
        return Turn(blocks, _busy() - before)


def _busy() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a rank ended with {process.wait()}; its error is above")
    return line


@contextmanager
def started(rows: Mapping[str, Sequence[Rank]]) -> Iterator[dict[str, Group]]:
    """Starts the ranks of every row, waits until all are ready, and ends them when the block ends."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    groups: dict[str, Group] = {}
    try:
        for name, ranks in rows.items():
            groups[name] = Group([_start(rank, environment) for rank in ranks])
            for process in groups[name].processes:
                _line(process)
        yield groups
    finally:
        for group in groups.values():
            for process in group.processes:
                process.kill()
                process.wait()


def _start(rank: Rank, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    command: list[Any] = [sys.executable, "-m", "tests.benchmarks.scale.trainer", json.dumps(asdict(rank))]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=Path(ROOT), **pipes)
