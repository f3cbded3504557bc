"""A comparison of two commits: whether curves, weights and answers of every preset are equal to the bit.

    python -m tests.golden FOLDER

On the first commit this writes `FOLDER/golden.json`. On the second commit, with the same FOLDER, it compares and lists
every difference. Bits depend on the processor and on the version of torch, so run both commits on one machine; the file is
not kept in the repository.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tests.vae.config.test_presets import PRESETS, SMALL, SMALLER, TABLES, preset
from tests.vae.conftest import _publish, people
from vae.config import RunConfig, override
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.inference.answering import abilities, answer
from vae.model import VAE
from vae.training.hooks import TrainingResult
from vae.training.lanes import LaneTraining
from vae.training.latents import fit_latents
from vae.training.loop import Training
from vae.training.state import load_model, save_model

TIMES = ("examples_per_second", "elapsed_seconds")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv, film": (
        "vae",
        {
            "model.encoder": {"kind": "conv", "channels": [4, 6], "hidden": 12, "residual_blocks": 1},
            "model.condition": ["class", "size"],
            "model.condition_by": "film",
            "model.likelihood": {"kind": "discretized_logistic", "components": 2},
        },
    ),
    "averaged, corrupted, clipped": (
        "vae",
        {
            "training.ema_decay": 0.9,
            "training.gradient_clip_norm": 1.0,
            "training.weight_decay": 0.1,
            "objective.corruption": {"kind": "blur"},
            "objective.controller": {"kind": "free_bits", "nats": 0.2},
        },
    ),
    "conditional prior": ("vae", {"model.condition": "class", "model.prior": {"kind": "conditional"}}),
    "missing": ("vae", {"data.missing": {"kind": "mcar", "share": 0.3}, "model.likelihood": {"kind": "laplace"}}),
    "maf": ("vae", {"model.prior": {"kind": "flow", "transform": "maf"}, "objective.bound": {"kind": "ciwae"}}),
}
"""Parts that no preset has: the preset they start from, and the changes."""


def main(folder: Path) -> int:
    """Writes or compares; returns the exit status."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        found = measured(Path(scratch))
    file = folder / "golden.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1))
        print(f"wrote {len(found)} entries to {file}")
        return 0
    expected = json.loads(file.read_text())
    wrong = [name for name in expected if expected[name] != found.get(name)]
    for name in wrong:
        print(f"differs: {name}: expected {expected[name]}, found {found.get(name)}")
    print(f"{len(expected) - len(wrong)} of {len(expected)} entries are equal to the bit")
    return int(bool(wrong))


def measured(scratch: Path) -> dict[str, Any]:
    """Returns digests by name."""
    images, table = _images(scratch / "digits"), _table(scratch)
    found: dict[str, Any] = {}
    for name in [*PRESETS, *VARIANTS]:
        start, changes = VARIANTS.get(name, (name, {}))
        dataset = table if start in TABLES else images
        sized = {**SMALL, **SMALLER.get(start, {}), **changes}
        for length, size in {"three steps": 467, "epoch": 32}.items():
            config = override(preset(start), {**sized, "training.batch_size": size if dataset is images else size // 2})
            training = Training(config, dataset)
            result = training.run()
            found[f"{name}: {length}"] = _of_run(result)
        fit_latents(training.model, training.config, training.dataset)
        save_model(result.model, str(scratch / name))
        for task, digest in _answers(str(scratch / name), dataset).items():
            found[f"{name}: {task}"] = digest
    return found | _lanes(images)


def _images(folder: Path) -> Dataset:
    """Digits with a size and a colour beside them."""
    from sklearn.datasets import load_digits

    folder.mkdir()
    data: Any = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    attributes = [
        Column("size", dtype="float"),
        Column("colour", ("red", "green"), dtype="string"),
    ]
    values = np.stack([data.images.mean((1, 2)), data.target % 2], axis=1).astype(np.float32)
    splits = {"train": 1401, "validation": 196, "test": 200}
    return _publish(folder, pixels, data.target.astype(np.int64), splits, 100, attributes, values)


def _table(scratch: Path) -> Dataset:
    class Factory:
        def mktemp(self, name: str) -> Path:
            (scratch / name).mkdir()
            return scratch / name

    return people.__wrapped__(Factory())  # pyright: ignore[reportAttributeAccessIssue]


def _of_run(result: TrainingResult) -> str:
    history = [
        {name: value for name, value in asdict(report).items() if name not in TIMES} for report in result.history
    ]
    return _digest([history, result.model.state_dict()])


def _lanes(dataset: Dataset) -> dict[str, str]:
    """Three lanes, averaged and clipped."""
    changes = {**SMALL, "training.ema_decay": 0.9, "training.gradient_clip_norm": 1.0}
    configs = [override(RunConfig(), {**changes, "objective.beta": beta}) for beta in (0.5, 1.0, 4.0)]
    results = LaneTraining(configs, dataset).run()
    return {
        f"lane {number}": _of_run(result) for number, result in enumerate(results) if isinstance(result, TrainingResult)
    }


def _answers(folder: str, dataset: Dataset) -> dict[str, str]:
    """Digests of what a saved model answers to each task that it can do."""
    model = load_model(folder)
    told = ["class=3, size=4.0"] if len(model.conditions) > 1 else ["3"] if model.conditions else []
    common: dict[str, Any] = {"condition": told} if told else {}
    digests: dict[str, str] = {
        "abilities": _digest({task: reason is None for task, reason in abilities(model).items()})
    }
    for name, (inputs, params) in _asked(model).items():
        task = name.split(",")[0]
        if task == "interpolate" and isinstance(inputs, np.ndarray):
            inputs = inputs.reshape(3, 2, *inputs.shape[1:])
        try:
            digests[name] = _digest(answer(model, inputs, {**common, **params, "task": task}))
        except Exception as error:  # a refusal is an answer too; of its words only the class is held to
            digests[name] = type(error).__name__
    return digests


def _asked(model: VAE) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Inputs and parameters of each question; a task's name stands before the comma."""
    rows, gaps = _rows(model)
    other = ["class=7, size=5.0"] if len(model.conditions) > 1 else ["7"]
    z_NL = np.random.default_rng(3).normal(size=(5, model.config.latent_dim)).astype(np.float32)
    asked: dict[str, tuple[Any, dict[str, Any]]] = {
        "reconstruct": (rows, {}),
        "encode": (rows, {}),
        "decode": (z_NL, {}),
        "decode, sample": (z_NL, {"output": "sample"}),
        "generate": (None, {"n": 5}),
        "generate, aggregate": (None, {"n": 5, "sampler": "aggregate", "temperature": 0.7}),
        "score": (rows, {"num_samples": 20}),
        "denoise": (rows, {"num_samples": 8}),
        "denoise, std": (rows, {"num_samples": 8, "output": "std"}),
        "impute": (gaps, {"num_samples": 8}),
        "impute, sample": (gaps, {"num_samples": 8, "n": 3, "output": "sample"}),
        "impute, ess": (gaps, {"num_samples": 8, "output": "ess"}),
        "interpolate": (rows, {"n": 4}),
        "interpolate, spherical": (rows, {"n": 4, "path": "spherical"}),
        "interpolate, geodesic": (rows, {"n": 4, "path": "geodesic"}),
        "traverse": (rows, {"n": 3}),
        "transfer": (rows, {"target": other}),
    }
    if model.directions is not None and model.directions.names:
        asked["edit"] = (rows, {"attribute": model.directions.names[0]})
        asked["edit, probe"] = (rows, {"attribute": model.directions.names[0], "method": "probe"})
    return asked


def _rows(model: VAE) -> tuple[Any, Any]:
    """Rows of the kind of data of a model, and the same with gaps."""
    if model.examples.columns is None:
        rows: Any = np.random.default_rng(1).random((6, 1, 8, 8)).astype(np.float32)
        gaps = np.where(np.random.default_rng(2).random(rows.shape) < 0.3, np.nan, rows)
    else:
        rows = pd.DataFrame(
            {
                "age": [30.0, 40.0, 50.0, 60.0, 20.0, 44.0],
                "income": [4.0, 8.0, 12.0, 20.0, 3.0, 9.0],
                "year": [2026] * 6,
                "colour": ["red", "blue", "green", "red", "red", "blue"],
            }
        )
        gaps = rows.assign(age=[None, 40.0, None, 60.0, 20.0, 44.0], colour=["red", None, None, "red", "red", "blue"])
    return rows, gaps


def _digest(value: Any) -> str:
    """Returns a short SHA-256 of tensors, arrays, frames, numbers and text, in any nesting."""
    sha = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, dict):
            for key in value:
                sha.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for one in value:
                add(one)
        elif isinstance(value, torch.Tensor):
            add(value.detach().cpu().numpy())
        elif isinstance(value, np.ndarray):
            sha.update(str((value.shape, value.dtype)).encode())
            sha.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, pd.DataFrame):
            sha.update(value.to_csv().encode())
        else:
            sha.update(repr(value).encode())

    add(value)
    return sha.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
