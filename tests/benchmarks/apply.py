"""Cost of `betaline apply` over a bare loop, and its memory: `python -m tests.benchmarks.apply`.

Throughput: a worker's units, from Parquet to Parquet, against a loop over the same rows in memory that asks the same model
and keeps nothing; the two take turns in one process on one thread. Memory: the peak of a fresh process that works off
10^5 and 10^6 small images, without Ray, whose own share does not depend on the rows.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.data import apply as applying
from pipelines.data.apply import ApplyPlan, Worker
from pipelines.jobs.apply import UNITS_PER_CALL
from pipelines.models.registry import Version
from tests.benchmarks.alternating import alternate, machine, print_rates, print_ratio, ratios
from vae.config import ModelConfig
from vae.data.manifest import MANIFEST_NAME, Manifest, derive_dataset_id
from vae.data.parquet import Dataset, rows_per_group, write_shard
from vae.data.rows import arrow_schema
from vae.data.schema import ExampleSpec
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.serving import RegisteredVAE
from vae.storage import locate

LARGE, SMALL = (ExampleSpec((1, side, side)) for side in (28, 8))
TASKS = {"reconstruct": {}, "encode": {}, "score": {"num_samples": 10}}
FLOOR, MOST_GROWTH = 0.8, 1.1


def publish(folder: Path, spec: ExampleSpec, rows: int) -> Dataset:
    """Publishes images of noise, some row groups at a time."""
    folder.mkdir(parents=True)
    rng, schema, shards = np.random.default_rng(0), arrow_schema(spec), []
    group_rows = rows_per_group(spec)
    for number, first in enumerate(range(0, rows, 20 * group_rows)):
        count = min(20 * group_rows, rows - first)
        pixels = pa.py_buffer(rng.integers(256, size=(count, spec.row_bytes), dtype=np.uint8))
        images = pa.FixedSizeBinaryArray.from_buffers(pa.binary(spec.row_bytes), count, [None, pixels])
        table = pa.table([images, pa.array(np.arange(first, first + count))], schema=schema)
        place = locate(str(folder / f"train-{number:05d}.parquet"))
        shards.append(write_shard(place, table, group_rows))
    manifest = Manifest.made_now(
        dataset_id=derive_dataset_id([shard.sha256 for shard in shards], {}),
        name="noise",
        example=spec,
        splits={"train": tuple(shards)},
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return Dataset.open(str(folder))


def served(spec: ExampleSpec, hidden: int) -> RegisteredVAE:
    """Returns an untrained model of one hidden layer and 16 latents."""
    registered = RegisteredVAE()
    config = ModelConfig(latent_dim=16, encoder=MLP(hidden=(hidden,)))
    registered.model = VAE(config, ExampleSpec(spec.shape), seed=0).eval()
    return registered


def planned(task: str, model: RegisteredVAE, dataset: Dataset, output: Path) -> ApplyPlan:
    """Returns the plan of a task on the whole training split."""
    params, version = applying.read_params(task, TASKS[task]), Version("m", "1", "models:/m/1", "r", None, ())
    asked = applying.Asked(task=task, params=params, source=dataset.uri, output=str(output))
    return applying.plan(asked, version, "0" * 64, model.model)


def worked(task: str, model: RegisteredVAE, dataset: Dataset, output: Path) -> float:
    """Returns the rows per second of a worker, from Parquet to Parquet."""
    shutil.rmtree(output, ignore_errors=True)
    plan = planned(task, model, dataset, output)
    applying.claim(plan)
    worker = Worker(plan, model)
    started = time.perf_counter()
    every = range(len(plan.units))
    calls = [every[first : first + UNITS_PER_CALL] for first in every[::UNITS_PER_CALL]]
    records = [record for call in calls for record in worker.write(call)]
    seconds = time.perf_counter() - started
    applying.publish(plan, records)
    return plan.num_rows / seconds


def bare(task: str, model: RegisteredVAE, images: Any, rows_per_call: int) -> float:
    """Returns the rows per second of a loop over rows in memory."""
    started = time.perf_counter()
    for first in range(0, len(images), rows_per_call):
        model.predict(None, images[first : first + rows_per_call], {"task": task, "seed": first, **TASKS[task]})
    return len(images) / (time.perf_counter() - started)


def measure(rows: int, rounds: int, scratch: Path) -> None:
    """Prints the table of throughputs."""
    dataset, model = publish(scratch / "data", LARGE, rows), served(LARGE, 512)
    images = dataset.read_rows("train", 0, rows).values.reshape(-1, *LARGE.shape)
    for task in TASKS:
        calls = planned(task, model, dataset, scratch / "never").provenance.rows_per_call
        measured = alternate(
            {
                f"{task}: worker": lambda task=task: worked(task, model, dataset, scratch / "out"),
                f"{task}: bare loop": lambda task=task, calls=calls: bare(task, model, images, calls),
            },
            rounds,
        )
        print_rates(measured, "rows/s")
        print_ratio(f"{task}: worker / loop", ratios(measured, f"{task}: worker", f"{task}: bare loop"), floor=FLOOR)


def peak(rows: int, scratch: Path) -> float:
    """Returns the peak memory of a fresh process in MiB."""
    publish(scratch / f"rows-{rows}", SMALL, rows)
    gc.collect()
    command = [sys.executable, "-m", "tests.benchmarks.apply", "--one", str(rows), "--scratch", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(scratch / f"rows-{rows}")
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=80_000, help="of the throughput")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--one", type=int, help="work off so many rows, and print the peak")
    parser.add_argument("--scratch", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.one:
        dataset = Dataset.open(str(chosen.scratch / f"rows-{chosen.one}"))
        worked("reconstruct", served(SMALL, 64), dataset, chosen.scratch / f"out-{chosen.one}")
        shutil.rmtree(chosen.scratch / f"out-{chosen.one}")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        print(machine())
        measure(chosen.rows, chosen.rounds, Path(scratch))
        peaks = {rows: peak(rows, Path(scratch)) for rows in chosen.memory_rows}
        for rows, mebibytes in peaks.items():
            print(f"peak at {rows:>9,} rows {mebibytes:>18,.0f} MiB")
        if len(peaks) > 1:
            first, *_, last = peaks.values()
            print_ratio("peak, most rows / fewest", [last / first], ceiling=MOST_GROWTH)


if __name__ == "__main__":
    main()
