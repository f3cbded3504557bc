"""One rank of a training that runs in blocks, and rests between them: `python -m tests.benchmarks.scale.trainer JSON`.

It prints a line when it is ready and the figures of each block as JSON, and waits for a line before each block. So several
trainings can take turns within a second of each other. `loop` says which training it is:

- product: `vae.training.loop.Training`;
- bare: the same network in plain modules under torch's own `DistributedDataParallel`, written for this one purpose;
- reduce: nothing but the all-reduce of as many numbers as the network has weights.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from tests.benchmarks.conv_throughput import networks
from vae.config import RunConfig, parse
from vae.data.batches import Batch, Feed, Share
from vae.data.parquet import Dataset
from vae.training.loop import Training
from vae.training.world import World, set_up_process


@dataclass(frozen=True)
class Rank:
    """Specification of a rank."""

    loop: str
    config: dict[str, Any]
    """Configuration of the run; its batch is that of all ranks."""
    dataset: str
    """URI of the dataset, an epoch of which is a block."""
    rendezvous: str
    """File by which the ranks meet."""
    rank: int = 0
    size: int = 1


@dataclass
class Block:
    """Seconds of a block on one rank; of the processor unless it says otherwise."""

    steps: int = 0
    wall: float = 0.0
    """Seconds by the clock."""
    data: float = 0.0
    """Seconds by the clock until the feed had the batches."""
    training: float = 0.0
    """Processor seconds of the training's thread."""
    others: float = 0.0
    """Processor seconds of all other threads: gloo's."""


class Pace:
    """Blocks of steps: waits before each for a line, and prints the figures of each."""

    def block(self, steps: Iterator[Any]) -> Iterator[Any]:
        """Yields the batches of one block, and measures what is done with them and how long they are waited for."""
        sys.stdin.readline()
        found = Block()
        clock, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
        while True:
            started = time.perf_counter()
            batch = next(steps, None)
            if batch is None:
                break
            found.data += time.perf_counter() - started
            found.steps += 1
            yield batch
        found.wall = time.perf_counter() - clock
        found.training = time.thread_time() - thread
        found.others = time.process_time() - process - found.training
        print(json.dumps(asdict(found)), flush=True)


class PacedFeed:
    """A feed whose epochs are blocks."""

    def __init__(self, feed: Feed, pace: Pace) -> None:
        self.feed, self.pace = feed, pace
        self.order, self.places, self.held_bytes = feed.order, feed.places, feed.held_bytes

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch as one block."""
        yield from self.pace.block(self.feed.epoch(epoch, first_step))


class Plain(nn.Module):
    """The loss of a batch in nats per example: an MLP with Bernoulli pixels, or convolutions with Gaussian ones."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        encoder, latent = config.model.encoder.model_dump(), config.model.latent_dim
        self.is_conv = encoder["kind"] == "conv"
        if self.is_conv:
            self.encoder, self.decoder = networks(encoder["channels"], 32, encoder["hidden"], latent)
        else:
            width = encoder["hidden"][0]
            self.encoder = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 2 * latent))
            self.decoder = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, 784))

    def forward(self, x: Tensor) -> Tensor:
        mean, log_std = self.encoder(x if self.is_conv else x.flatten(1)).chunk(2, dim=1)
        outputs = self.decoder(mean + log_std.exp() * torch.randn_like(mean))
        if self.is_conv:
            distortion = (x - outputs.sigmoid()).square().sum() / (2 * 0.25**2)
        else:
            distortion = F.binary_cross_entropy_with_logits(outputs, x.flatten(1), reduction="sum")
        rate = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum()
        return (distortion + rate) / len(x)


def bare(rank: Rank, config: RunConfig, pace: Pace) -> None:
    """Trains the plain network for ever."""
    model = Plain(config)
    network = DistributedDataParallel(model, gradient_as_bucket_view=True) if rank.size > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    share = Share.of(Dataset.open(rank.dataset), "train")
    pixels = share.load(share.start, share.stop).values
    count = config.training.batch_size // rank.size

    def batches() -> Iterator[Tensor]:
        for index in torch.randperm(len(pixels))[: len(pixels) // rank.size // count * count].view(-1, count):
            yield pixels.index_select(0, index)

    while True:
        for batch in pace.block(batches()):
            network(batch.float() / 255).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def reduce(rank: Rank, config: RunConfig, pace: Pace) -> None:
    """Adds up as many numbers as the network has weights for ever."""
    numbers = torch.zeros(sum(parameter.numel() for parameter in Plain(config).parameters()))
    while True:
        for _ in pace.block(iter(range(50))):
            distributed.all_reduce(numbers)


def product(rank: Rank, config: RunConfig, pace: Pace) -> None:
    """Trains with the product's own loop."""
    training = Training(config, Dataset.open(rank.dataset), World.current())
    training.feed = PacedFeed(training.feed, pace)
    training.run()


LOOPS: dict[str, Callable[[Rank, RunConfig, Pace], None]] = {"product": product, "bare": bare, "reduce": reduce}


def main(rank: Rank) -> None:
    """Joins the other ranks and trains until the process is ended."""
    set_up_process(1)
    if rank.size > 1:
        meeting = f"file://{rank.rendezvous}"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank.rank, world_size=rank.size)
    print("ready", flush=True)
    LOOPS[rank.loop](rank, parse(RunConfig, rank.config), Pace())
    os._exit(0)  # gloo's threads may outlive the interpreter


if __name__ == "__main__":
    main(Rank(**json.loads(sys.argv[1])))
