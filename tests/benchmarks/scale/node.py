"""One rank on a machine of a network: `python -m tests.benchmarks.scale.node JSON` prints its figures as JSON.

A step sleeps instead of computing, because the machines share the processors of one. Then it sums gradients as a
training does.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from vae.training.world import World, set_up_process

COMPUTE_SECONDS = 0.02
WARM_STEPS, PINGS = 5, 30


@dataclass(frozen=True)
class NodeSpec:
    """Specification of a rank."""

    rank: int
    size: int
    meeting: str
    """Address and port of rank 0."""
    weights: Sequence[int]
    """Numbers of weights to sum the gradients of, one after the other."""
    steps: int


@dataclass
class Summed:
    """Figures of the steps with one number of weights."""

    weights: int
    step_seconds: float
    """Median of a step by the clock."""
    sent_bytes: float
    """Bytes that the machine sent in a step, with headers."""
    processor_seconds: float
    """Processor seconds of this rank in a step."""


class Weights(nn.Module):
    """Weights in matrices of a layer's size, whose gradients cost next to nothing."""

    def __init__(self, count: int) -> None:
        super().__init__()
        layer = 400_000
        sizes = [layer] * (count // layer) + [count % layer]
        self.layers = nn.ParameterList([nn.Parameter(torch.zeros(size)) for size in sizes if size])

    def forward(self) -> Tensor:
        return torch.stack([layer.sum() for layer in self.layers]).sum()


def summed(spec: NodeSpec, count: int) -> Summed:
    """Takes steps, and returns their figures."""
    network = World.current().in_step(Weights(count))
    seconds: list[float] = []
    for number in range(WARM_STEPS + spec.steps):
        if number == WARM_STEPS:
            distributed.barrier()
            sent, processor = _sent_bytes(), time.process_time()
        started = time.perf_counter()
        time.sleep(COMPUTE_SECONDS)
        network().backward()
        network.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    sent, processor = _sent_bytes() - sent, time.process_time() - processor  # pyright: ignore[reportPossiblyUnbound]
    return Summed(count, statistics.median(seconds[WARM_STEPS:]), sent / spec.steps, processor / spec.steps)


def message_seconds(rank: int) -> float:
    """Returns the median time of a small message from one machine to another: half of there and back."""
    number, found = torch.zeros(1), list[float]()
    for _ in range(PINGS):
        started = time.perf_counter()
        if rank == 0:
            distributed.send(number, 1)
            distributed.recv(number, 1)
        elif rank == 1:
            distributed.recv(number, 0)
            distributed.send(number, 0)
        found.append(0.5 * (time.perf_counter() - started))
    return statistics.median(found)


def _sent_bytes() -> int:
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("eth0:")).split()[9])


def main(spec: NodeSpec) -> None:
    """Joins the other ranks, and prints a message's time and the figures of each number of weights."""
    set_up_process(1)
    address = f"tcp://{spec.meeting}"
    distributed.init_process_group("gloo", init_method=address, rank=spec.rank, world_size=spec.size)
    message = message_seconds(spec.rank)
    figures = [asdict(summed(spec, count)) for count in spec.weights]
    print(json.dumps({"message_seconds": message, "summed": figures}), flush=True)
    distributed.barrier()
    os._exit(0)  # gloo's threads may outlive the interpreter


if __name__ == "__main__":
    main(NodeSpec(**json.loads(sys.argv[1])))
