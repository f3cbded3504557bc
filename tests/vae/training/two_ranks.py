"""What each rank of the two-rank tests runs: `python two_ranks.py RANK FOLDER DATASET CONFIG`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
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


def describe(result: TrainingResult) -> dict[str, Any]:
    digest = hashlib.sha256()
    for value in result.model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return {"weights": digest.hexdigest(), "history": metrics(result.history)}


def main(rank: int, folder: Path, dataset: Dataset, config: RunConfig) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    world = World.current()
    report: dict[str, Any] = {}
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
    (folder / f"rank-{rank}.json").write_text(json.dumps(report))
    distributed.barrier()
    os._exit(0)  # gloo's threads may outlive the interpreter, and then end it with an abort


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Dataset.open(sys.argv[3]), RunConfig.model_validate_json(sys.argv[4]))
