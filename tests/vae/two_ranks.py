"""What each rank of the two-rank tests runs: `python two_ranks.py RANK FOLDER DATASET CONFIG`."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from vae.config import RunConfig, override
from vae.data.batches import Batch, Feed
from vae.data.parquet import Dataset
from vae.errors import CheckpointError
from vae.model import VAE
from vae.training import Step, Training, TrainingResult, World, example_spec

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


def compare_gradients(rank: int, config: RunConfig, dataset: Dataset) -> dict[str, float]:
    """Half the batch on each rank against the whole batch on this one alone."""
    model, alone = (VAE(config.model, example_spec(dataset), seed=0) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, *model.examples.shape, generator=generator).round()
    noise = torch.randn(1, 64, model.noise_dim, generator=generator)
    half = slice(32 * rank, 32 * rank + 32)
    beta = torch.tensor(2.0)
    wrapped = DistributedDataParallel(Step(model))  # must outlive the backward pass
    loss, _ = wrapped(x[half], noise[:, half], None, beta)
    loss.backward()
    expected, _ = Step(alone)(x, noise, None, beta)
    expected.backward()
    mean = loss.detach().clone()
    distributed.all_reduce(mean)
    pairs = zip(model.parameters(), alone.parameters(), strict=True)
    return {
        "loss_error": abs(mean.item() / 2 - expected.item()) / abs(expected.item()),
        "gradient_error": max((a.grad - b.grad).abs().max().item() for a, b in pairs),  # pyright: ignore
    }


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
    report: dict[str, Any] = compare_gradients(rank, config, dataset)
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
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Dataset.open(sys.argv[3]), RunConfig.model_validate_json(sys.argv[4]))
