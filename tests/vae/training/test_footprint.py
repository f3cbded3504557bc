"""The estimated memory of a training, against the peak of a process that trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.vae.conftest import _publish, _publish_table
from vae.config import override
from vae.config.presets import PRESETS, preset
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.data.statistics import example_spec
from vae.data.transforms import transform_of
from vae.errors import ConfigError
from vae.training.footprint import LIBRARIES_BYTES, TRUST, check_length, fitting_batch, footprint

GIB = 1 << 30
CONV = {"kind": "conv", "channels": [32, 64, 64]}
PHOTOGRAPHS = {"model.encoder": CONV, "model.likelihood": {"kind": "discretized_logistic"}}
RUNS: dict[str, tuple[str, dict[str, Any], tuple[int, ...], int]] = {
    "wide mlp, batch 128": ("vae", {"model.encoder": {"kind": "mlp", "hidden": [2048, 1024]}}, (3, 64, 64), 128),
    "conv, batch 128": ("vae", PHOTOGRAPHS, (3, 64, 64), 128),
    "conv, batch 512": ("vae", {"model.encoder": CONV}, (1, 64, 64), 512),
    "residual conv, batch 64": ("vae", {"model.encoder": {**CONV, "residual_blocks": 2}}, (3, 64, 64), 64),
    "iwae, batch 256": ("iwae", {"objective.bound.samples": 50}, (1, 28, 28), 256),
    "flow prior, batch 512": ("flow_prior_vae", {}, (1, 32, 32), 512),
    "table, batch 512": ("table_vae", {}, (40,), 512),
}
"""Preset, changes, shape and batch of each measured training."""
IWAE = override(preset("iwae"), {"objective.bound.samples": 50}, "changes")

MEASURED = """
import json, sys, tempfile
import psutil
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.training.loop import Training
from vae.training.world import set_up_process
set_up_process(1)
config, dataset = RunConfig.model_validate_json(sys.stdin.read()), Dataset.open(sys.argv[1])

def mapped() -> int:
    return psutil.Process().memory_info().shared

before, files = psutil.Process().memory_info().rss, mapped()
with tempfile.TemporaryDirectory() as checkpoints:
    Training(config, dataset, checkpoints=checkpoints).run()
# Not ru_maxrss, which a process inherits from the one that starts it.
peak = next(1024 * int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))
# Pages of libraries that are read later than others are not the training's.
print(json.dumps({"taken": peak - before - (mapped() - files)}))
"""


def published(folder: Path, shape: tuple[int, ...], batch: int, num_validated: int | None = None) -> Dataset:
    """Noise for two steps, and rows to validate on; by default those of one step."""
    rng, rows = np.random.default_rng(0), {"train": 2 * batch, "validation": num_validated or batch}
    if len(shape) == 3:
        pixels = rng.integers(0, 256, (sum(rows.values()), *shape), np.uint8)
        return _publish(folder, pixels, None, rows)
    names = [f"c{number}" for number in range(*shape)]
    columns = [
        Column(name=name, categories=tuple(f"k{k}" for k in range(30)), dtype="string") if n % 2 else Column(name=name)
        for n, name in enumerate(names)
    ]
    count = sum(rows.values())
    values = [
        pa.array([f"k{v}" for v in rng.integers(0, 30, count)])
        if column.categories
        else pa.array(rng.normal(size=count))
        for column in columns
    ]
    return _publish_table(folder, pa.table(values, names=names), columns, None, rows)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", RUNS)
def test_estimate_is_within_its_factor_of_the_measured_peak(name: str, tmp_path: Path) -> None:
    """What a process takes beyond its libraries is neither much more nor much less than estimated."""
    kind, changes, shape, batch = RUNS[name]
    config = override(preset(kind), {**changes, "training.batch_size": batch, "training.epochs": 1}, "changes")
    config = override(config, {"objective.controller": {"kind": "constant"}}, "changes")
    dataset = published(tmp_path, shape, batch)
    estimate = footprint(config, dataset)
    assert estimate is not None
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, dataset.uri], input=config.model_dump_json(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)["taken"] + LIBRARIES_BYTES  # as of a worker, which has imported more
    print(f"{name}: estimated {estimate.total / GIB:.2f} GiB, measured {measured / GIB:.2f} GiB")
    assert estimate.total / TRUST < measured < estimate.total * TRUST


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_estimated(name: str, digits: Dataset, people: Dataset) -> None:
    """No part of a conditional model asks for values, and what was made without them does not stay."""
    config = override(preset(name), {"model.condition": ["class"]}, "changes")
    dataset = people if name in ("miwae", "table_vae") else digits
    assert footprint(config, dataset) is not None
    rows, spec = dataset.read_rows("train", 0, 4), example_spec(dataset, None, config.data.transform)
    x, _ = transform_of(spec).prepare(torch.from_numpy(rows.values), None)
    assert x.sum().isfinite().item()


def test_estimate_needs_no_memory_of_its_own(tmp_path: Path) -> None:
    """Dense layers over 3,400 × 3,400 pixels would take a hundred GiB; the estimate says so, and that no batch helps."""
    dataset = published(tmp_path, (1, 3400, 3400), 2)
    config = override(preset("vae"), {"model.encoder": {"kind": "mlp"}, "training.batch_size": 2}, "changes")
    estimate = footprint(config, dataset)
    assert estimate is not None
    assert estimate.weights > 80 * GIB
    assert fitting_batch(config, dataset, 20 * GIB) is None


def test_smaller_batch_that_fits_is_found_by_halves(tmp_path: Path) -> None:
    """The batch found fits by its own estimate, and twice as much does not."""
    dataset = published(tmp_path, (1, 28, 28), 256, num_validated=8)

    def estimated(batch: int) -> int:
        estimate = footprint(override(IWAE, {"training.batch_size": batch}, "changes"), dataset)
        assert estimate is not None
        return estimate.total

    assert estimated(32) < estimated(64) < estimated(256)
    config = override(IWAE, {"training.batch_size": 256}, "changes")
    assert fitting_batch(config, dataset, estimated(64)) == 64
    assert fitting_batch(config, dataset, estimated(64) - 1) == 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"training.batch_size": 512},
            "training.batch_size: one step takes 512 examples, the train split of .* has 256",
        ),
        ({"training.warmup_steps": 10_000}, "training.warmup_steps: the learning rate would rise for 10000 steps"),
        ({"objective.controller": {"kind": "warmup", "steps": 10_000}}, "objective.controller.steps: the warmup takes"),
    ],
)
def test_run_that_does_not_fit_the_dataset_is_refused_from_the_manifest(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """A batch, a warm-up and a schedule are compared with the number of rows, and no row is read."""
    dataset = published(tmp_path, (1, 8, 8), 128)
    with pytest.raises(ConfigError, match=words):
        check_length(override(preset("vae"), changes, "changes"), dataset)
