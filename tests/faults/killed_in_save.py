"""A training that saves a checkpoint after every step and is killed while it does, again and again, until it is let be.

`python killed_in_save.py DATASET FOLDER` leaves FOLDER/unbroken, of a training that nobody killed, and FOLDER/killed, each
with its checkpoints and its model, and prints the attempts of the latter as JSON.
"""

from __future__ import annotations

import glob
import json
import multiprocessing
import sys
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from vae.config import RunConfig, override
from vae.data.parquet import Dataset
from vae.training.loop import Training
from vae.training.state import MANIFEST, save_model

KILLED_AT = (1, 2, 3, 4, 5, 6, 9, 12)
"""The file, of those that an attempt writes, at which it is killed; a checkpoint has six."""
CONFIG = override(
    RunConfig(),
    {
        "model.latent_dim": 3,
        "model.encoder": {"kind": "mlp", "hidden": [256]},
        "training.epochs": 2,
        "training.batch_size": 64,
        "training.checkpoint_steps": 1,
    },
)


@dataclass(frozen=True)
class Attempt:
    """An attempt at the training."""

    newest: int
    """The step of the newest checkpoint that was committed before."""
    resumed: int
    """The step that it went on from."""
    torn: bool
    """Whether it left a checkpoint that was not finished."""


def main(dataset: str, folder: Path) -> None:
    attempt(dataset, folder / "unbroken", None)
    attempts = [attempt(dataset, folder / "killed", files) for files in [*KILLED_AT, None]]
    print(json.dumps([asdict(each) for each in attempts]))


def attempt(dataset: str, folder: Path, files: int | None) -> Attempt:
    """Trains in a process of its own, and kills it when it is seen to write its so manyeth file."""
    newest = max(committed(folder), default=0)
    before, seen = partial(folder), set[str]()
    ours, theirs = multiprocessing.Pipe()
    # A fork has imported everything already.
    process = multiprocessing.get_context("fork").Process(target=train, args=(dataset, folder, theirs))
    process.start()
    resumed = ours.recv()
    while files is not None and process.is_alive():
        seen |= partial(folder) - before
        if len(seen) >= files:
            process.kill()
            break
    process.join()
    return Attempt(newest, resumed, len(list(folder.glob("checkpoints/*"))) > len(committed(folder)))


def partial(folder: Path) -> set[str]:
    """Files that are being written, or were when their writer was killed."""
    return set(glob.glob(f"{folder}/checkpoints/*/.*.partial"))  # pathlib's trips over a folder that goes


def train(dataset: str, folder: Path, resumed: Connection) -> None:
    training = Training(CONFIG, Dataset.open(dataset), checkpoints=str(folder / "checkpoints"))
    resumed.send(training.resume())
    save_model(training.run().model, str(folder / "model"))


def committed(folder: Path) -> list[int]:
    """The steps of the checkpoints that were committed."""
    return [int(file.parent.name.removeprefix("step-")) for file in folder.glob(f"checkpoints/*/{MANIFEST}")]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
