"""What each process of the tests with several ranks runs: `python two_ranks.py RANK FOLDER DATASET CONFIG SEGMENTS`.

The first two make a group of two. Then as many as each segment asks for, as `[ranks, steps]`, go on with one run.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tests.vae.training.runs import CutFeed, Killed, metrics
from vae.config import RunConfig, override
from vae.data.parquet import Dataset
from vae.errors import CheckpointError
from vae.training.hooks import TrainingResult
from vae.training.loop import Training
from vae.training.world import World

Report = dict[str, Any]


def describe(result: TrainingResult) -> Report:
    digest = hashlib.sha256()
    for value in result.model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return {"weights": digest.hexdigest(), "history": metrics(result.history)}


def join(rank: int, world_size: int, rendezvous: Path) -> World:
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)
    return World.current()


def two_ranks(rank: int, folder: Path, dataset: Dataset, config: RunConfig) -> Report:
    world = join(rank, 2, folder / "rendezvous")
    report: Report = {}
    resident = Training(config, dataset, world)
    noises: list[float] = []
    resident.model.register_forward_pre_hook(lambda _, inputs: noises.append(inputs[1].sum().item()))
    report["resident"] = describe(resident.run())
    report["first_noise"] = noises[0]
    for feed in ("streaming", "resident"):
        windows = override(config, {"training.feed": feed, "training.memory_budget_bytes": 4 * 64 * 60})
        report[f"{feed} in windows"] = describe(Training(windows, dataset, world).run())

    checkpoints = str(folder / "checkpoints")
    often = override(config, {"training.checkpoint_steps": 5})
    stopped = Training(often, dataset, world, checkpoints)
    stopped.feed = CutFeed(stopped.feed, 12)
    try:
        stopped.run()
    except Killed:
        resumed = Training(often, dataset, world, checkpoints).run()
        report["resumed"], report["resumed_from_step"] = describe(resumed), resumed.resumed_from_step
    try:
        Training(override(often, {"objective.beta": 4.0}), dataset, world, checkpoints).run()
    except CheckpointError as error:
        report["refusal"] = str(error)
    distributed.barrier()
    distributed.destroy_process_group()
    return report


def elastic(
    rank: int, folder: Path, dataset: Dataset, config: RunConfig, segments: Sequence[tuple[int, int]]
) -> Report:
    """Goes through one run on another number of ranks in each segment; returns the rows of each step of each epoch."""
    often = override(config, {"training.checkpoint_steps": 3})
    report: Report = {"rows": {}}
    for number, (world_size, steps) in enumerate(segments):
        if rank < world_size:
            world = join(rank, world_size, folder / f"rendezvous-{number}")
            training = Training(often, dataset, world, str(folder / "elastic"))
            training.feed = CutFeed(training.feed, steps)
            with suppress(Killed):
                report["elastic"] = describe(training.run())
            for epoch, step in training.feed.taken:
                rows = training.feed.order.row_numbers(epoch, step, training.feed.places)
                report["rows"].setdefault(f"{epoch} {step}", []).append([world_size, rank, rows.tolist()])
            distributed.barrier()
            distributed.destroy_process_group()
        wait_for_all(rank, folder, number)
    return report


def wait_for_all(rank: int, folder: Path, number: int) -> None:
    """Waits until every process has come to the end of a segment: those without a part in it, too."""
    store = distributed.FileStore(str(folder / f"segment-{number}"), PROCESSES)
    store.set(f"rank {rank}", "done")
    store.wait([f"rank {other}" for other in range(PROCESSES)])


PROCESSES = 3


def main(rank: int, folder: Path, dataset: Dataset, config: RunConfig, segments: Sequence[tuple[int, int]]) -> None:
    torch.set_num_threads(1)
    report = two_ranks(rank, folder, dataset, config) if rank < 2 else {}
    report |= elastic(rank, folder, dataset, config, segments)
    (folder / f"rank-{rank}.json").write_text(json.dumps(report))
    os._exit(0)  # gloo's threads may outlive the interpreter, and then end it with an abort


if __name__ == "__main__":
    config = RunConfig.model_validate_json(sys.argv[4])
    main(int(sys.argv[1]), Path(sys.argv[2]), Dataset.open(sys.argv[3]), config, json.loads(sys.argv[5]))
