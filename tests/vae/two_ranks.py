"""What each rank of the two-rank tests runs: `python two_ranks.py RANK FOLDER DATASET CONFIG`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from vae.adversary import Discriminator
from vae.config import Adversary, RunConfig, override
from vae.data.batches import Batch, Feed
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.errors import CheckpointError
from vae.model import VAE, Inputs
from vae.reports import TrainingResult
from vae.step import Draws, Step
from vae.training import Training
from vae.world import World

CLOCKS = ("examples_per_second", "elapsed_seconds")


class Stopped(Exception):  # noqa: N818  stands for a signal
    """Stands for the end of a process."""


class StoppedFeed:
    """A feed that ends the run after so many batches."""

    def __init__(self, feed: Feed, batches: int) -> None:
        self.feed = feed
        self.steps_per_epoch = feed.steps_per_epoch
        self.left = batches

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        for batch in self.feed.epoch(epoch, first_step):
            if not self.left:
                raise Stopped
            self.left -= 1
            yield batch


OBJECTIVES: dict[str, dict[str, Any]] = {
    "elbo": {},
    "iwae": {"objective.bound": {"kind": "iwae", "samples": 3}},
    "capacity": {"objective.controller": {"kind": "capacity", "capacity": 5.0, "steps": 1}},
    "free bits": {"objective.controller": {"kind": "free_bits", "nats": 0.05}},
    "total correlation": {"objective.regularizers": [{"kind": "total_correlation"}]},
    "dip i": {"objective.regularizers": [{"kind": "dip", "variant": "i"}]},
    "dip ii": {"objective.regularizers": [{"kind": "dip", "variant": "ii"}]},
    "mmd": {"objective.regularizers": [{"kind": "mmd"}]},
    "adversary": {"objective.regularizers": [{"kind": "adversary", "hidden": [8]}]},
}
QUANTIZED = {
    "model.latent_dim": 4,
    "model.posterior": {"kind": "vector_quantized", "codes": 5, "code_dim": 2, "decay": 0.5},
    "model.prior": {"kind": "uniform_codes"},
}


def compare_gradients(rank: int, config: RunConfig, dataset: Dataset) -> dict[str, float]:
    """Half the batch on each rank against the whole batch on this one alone."""
    model, alone = (VAE(config.model, example_spec(dataset), seed=0) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, *model.examples.shape, generator=generator).round()
    noise = torch.randn(config.objective.bound.samples, 64, model.noise_dim, generator=generator)
    reference = torch.randn(64, model.prior.noise_dim, generator=generator)
    half = slice(32 * rank, 32 * rank + 32)
    beta, capacity = torch.tensor(2.0), torch.tensor(5.0)
    discriminator = Discriminator(Adversary(hidden=(8,)), model.config.latent_dim, 0)

    def step(model: VAE) -> Step:
        return Step(model, config.objective, 1000, discriminator)

    wrapped = DistributedDataParallel(step(model))  # must outlive the backward pass
    loss = wrapped(Draws(Inputs(x[half]), noise[:, half], reference[half]), beta, capacity).loss
    loss.backward()
    with alone_in_the_world():
        expected = step(alone)(Draws(Inputs(x), noise, reference), beta, capacity).loss
        expected.backward()
    mean = loss.detach().clone()
    distributed.all_reduce(mean)
    pairs = zip(model.parameters(), alone.parameters(), strict=True)
    return {
        "loss_error": abs(mean.item() / 2 - expected.item()) / abs(expected.item()),
        "gradient_error": max((a.grad - b.grad).abs().max().item() for a, b in pairs),  # pyright: ignore
    }


@contextmanager
def alone_in_the_world() -> Iterator[None]:
    """As if there were no other rank."""
    with patch.object(distributed, "is_initialized", return_value=False):
        yield


def compare_codebooks(rank: int, config: RunConfig, dataset: Dataset) -> float:
    """The codebook after a step on half the batch each against a step on the whole batch."""
    model, alone = (VAE(config.model, example_spec(dataset), seed=0) for _ in range(2))
    x = torch.rand(64, *model.examples.shape, generator=torch.Generator().manual_seed(0))
    model.encode(Inputs(x[32 * rank : 32 * rank + 32]))
    with alone_in_the_world():
        alone.encode(Inputs(x))
    moved = VAE(config.model, example_spec(dataset), seed=0).state_dict()["posterior.codebook.codes"]
    found, expected = (m.state_dict()["posterior.codebook.codes"] for m in (model, alone))
    assert not torch.equal(moved, expected), "the codebook did not follow"
    return (found - expected).abs().max().item()


def describe(result: TrainingResult) -> dict[str, Any]:
    digest = hashlib.sha256()
    for value in result.model.state_dict().values():
        digest.update(value.numpy().tobytes())
    history = [{k: v for k, v in asdict(report).items() if k not in CLOCKS} for report in result.history]
    return {"weights": digest.hexdigest(), "history": history}


def main(rank: int, folder: Path, dataset: Dataset, config: RunConfig) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    world = World.current()
    report: dict[str, Any] = {
        "gradients": {name: compare_gradients(rank, override(config, c), dataset) for name, c in OBJECTIVES.items()},
        "codebook_error": compare_codebooks(rank, override(config, QUANTIZED), dataset),
    }
    resident = Training(config, dataset, world)
    noises: list[float] = []
    resident.model.register_forward_pre_hook(lambda _, inputs: noises.append(inputs[1].sum().item()))
    report["resident"] = describe(resident.run())
    report["first_noise"] = noises[0]
    streaming = override(config, {"training.feed": "streaming", "training.memory_budget_bytes": 4 * 64 * 60})
    report["streaming"] = describe(Training(streaming, dataset, world).run())

    checkpoints = str(folder / "checkpoints")
    often = override(config, {"training.checkpoint_steps": 5})
    stopped = Training(often, dataset, world, checkpoints)
    stopped.feed = StoppedFeed(stopped.feed, 12)
    try:
        stopped.run()
    except Stopped:
        resumed = Training(often, dataset, world, checkpoints).run()
        report["resumed"], report["resumed_from_step"] = describe(resumed), resumed.resumed_from_step
    try:
        Training(override(often, {"objective.beta": 4.0}), dataset, world, checkpoints).run()
    except CheckpointError as error:
        report["refusal"] = str(error)
    (folder / f"rank-{rank}.json").write_text(json.dumps(report))
    distributed.barrier()
    os._exit(0)  # gloo's threads may outlive the interpreter, and then end it with an abort


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Dataset.open(sys.argv[3]), RunConfig.model_validate_json(sys.argv[4]))
