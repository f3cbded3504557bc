"""Training speed of a `betaline train` worker: `python -m tests.benchmarks.train_throughput`.

An MLP of 784-512-16 and back on MNIST, Bernoulli likelihood, one fixed binary draw of the pixels, AdamW. The rows are
alternated, A B C A B C …, and compared within a round, because on a shared machine rounds differ more than rows:

- bare: a plain PyTorch loop (`bare_loop.py`) in a process of its own, as one would start it without betaline, while the
  services idle, as they do beside a worker;
- betaline: the flow that the `betaline train` command runs, on the embedded services, Ray Train worker and all;
- pythae: the same model in Pythae 0.1.2, its own trainer (`pythae_loop.py`), with its default optimiser;
- pythae-fused: the same with betaline's optimiser, which Pythae users can ask for;
- one, two: betaline with one worker of one thread, and with two; 512 examples a step on each worker;
- streaming: as betaline, with a quarter of the data as its memory budget;
- after, before: `vae.training.loop` without Ray, of this checkout and of the one that `--before` names.

Every row trains on the same bits: bare and Pythae get them drawn already, betaline draws them when it loads the data, and
streaming again in every epoch, which is part of what streaming costs. A figure is the median over a run's epochs after the
first, of training alone: no row is charged for imports, validation or saving, and none for another's.

On a GPU, where a Ray worker is the same process with another name, betaline is `vae.training.loop` in a process of its
own, bare is one CUDA graph, and one, two and streaming are left out.

MNIST is read from BETALINE_TEST_DATA (default `../shared/data` beside the checkout). Pythae is looked for in the
interpreter BETALINE_PYTHAE_PYTHON, else installed into a virtual environment in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from pipelines.data.ingest import IngestConfig, ingest
from tests.benchmarks.alternating import alternate, machine, print_rates, print_ratio, ratios
from tests.benchmarks.ingest import data_folder
from tests.benchmarks.loops import find_pythae, run_loop
from vae.config import RunConfig, parse
from vae.data.batches import Share
from vae.data.parquet import Dataset
from vae.training.loop import Training, World

HERE = Path(__file__).parent
BATCH_SIZE, WORKER_BATCH_SIZE, LEARNING_RATE = 128, 512, 1e-3
THREADS = 1
"""Threads of every loop: the default of a worker. With a thread for each of two CPUs, the daemons of Ray, Prefect and
MLflow would interrupt barriers."""
QUIET_PERCENT = 25.0
"""Largest load of all CPUs by other work when a row starts. The services alone take about 10 % of two."""
ROWS = ("bare", "betaline", "pythae", "pythae-fused", "one", "two", "streaming")
CHECKOUTS = ("after", "before")
GPU_ROWS = ROWS[:4]


@dataclass(frozen=True)
class Ratio:
    """A ratio of two rows' throughputs, and its claim."""

    above: str
    below: str
    floor: float | None
    """Least ratio; None claims nothing."""


RATIOS = (
    Ratio("betaline", "bare", 0.95),
    Ratio("betaline", "pythae", 1.5),
    Ratio("betaline", "pythae-fused", None),
    Ratio("two", "one", 1.7),
    Ratio("streaming", "betaline", 0.9),
    Ratio("after", "before", 0.97),
)
GPU_RATIOS = (Ratio("betaline", "bare", 0.95), Ratio("betaline", "pythae", 10.0), RATIOS[2])


@dataclass(frozen=True)
class Bench:
    """Data and length of every row."""

    dataset: Dataset
    data: Path
    """The training split as the model sees it: uint8 [N,784] in a .npy file."""
    epochs: int
    pythae: Path | None
    """Interpreter that has Pythae."""
    before: Path | None = None
    """Another checkout of betaline."""

    def checkout(self, folder: Path) -> list[float]:
        """Returns the examples per second of each epoch of a training by the code of a checkout."""
        config = self.configuration(1, THREADS, BATCH_SIZE).model_dump(mode="json", exclude={"scaling"})
        values = {"config": config, "dataset": self.dataset.uri, "threads": THREADS}
        return run_loop("direct_loop.py", sys.executable, folder, **values)

    def script(self, name: str, python: str | Path, **arguments: Any) -> list[float]:
        """Returns the examples per second of each epoch of a loop in a process of its own."""
        arguments |= {"batch_size": BATCH_SIZE, "threads": THREADS, "learning_rate": LEARNING_RATE}
        return run_loop(name, python, data=str(self.data), epochs=self.epochs, **arguments)

    def configuration(self, num_workers: int, threads: int, batch_size: int, feed: str = "resident") -> RunConfig:
        """Returns the run of a betaline row."""
        pixels = self.dataset.num_rows("train") * 784
        values = {
            "model": {
                "latent_dim": 16,
                "encoder": {"kind": "mlp", "hidden": [512]},
                "likelihood": {"kind": "bernoulli", "binarization": "static"},
            },
            "training": {
                "epochs": self.epochs,
                "batch_size": batch_size,
                "learning_rate": LEARNING_RATE,
                "feed": feed,
                "memory_budget_bytes": pixels // 4 if feed == "streaming" else 2 * pixels,
            },
            "scaling": {"num_workers": num_workers, "cpus_per_worker": threads},
        }
        return parse(RunConfig, values)

    def cluster(self, config: RunConfig) -> list[float]:
        """Returns the examples per second of each epoch of a `betaline train`."""
        from pipelines.flows import job_events
        from pipelines.flows.train import train  # Prefect reads its settings when it is imported
        from pipelines.stages.train import TrainRequest

        request = TrainRequest(dataset=self.dataset.uri, name="bench", config=config)
        with job_events.session(lambda kind, event: None):
            history = train(request, run=f"bench-{uuid.uuid4().hex[:12]}").history
        return [epoch.examples_per_second for epoch in history]

    def direct(self, config: RunConfig) -> list[float]:
        """Returns the same without a cluster, in a fresh process."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(train_directly, config, self.dataset).result()

    def row(self, name: str) -> list[float]:
        """Measures a row once."""
        match name:
            case "bare":
                return self.script("bare_loop.py", sys.executable)
            case "pythae" | "pythae-fused":
                assert self.pythae is not None, "the row was left out"
                return self.script("pythae_loop.py", self.pythae, fused=name == "pythae-fused")
            case "betaline" if torch.cuda.is_available():
                return self.direct(self.configuration(1, 1, BATCH_SIZE))
            case "betaline":
                return self.cluster(self.configuration(1, THREADS, BATCH_SIZE))
            case "after":
                return self.checkout(HERE.parents[1])
            case "before":
                assert self.before is not None, "the row was left out"
                return self.checkout(self.before)
            case "one":
                return self.cluster(self.configuration(1, 1, WORKER_BATCH_SIZE))
            case "two":
                return self.cluster(self.configuration(2, 1, 2 * WORKER_BATCH_SIZE))
            case "streaming":
                return self.cluster(self.configuration(1, THREADS, BATCH_SIZE, "streaming"))
            case _:
                raise ValueError(f"no row is called {name!r}; there are {', '.join(ROWS)}")


def train_directly(config: RunConfig, dataset: Dataset) -> list[float]:
    """Trains in this process, on the GPU if there is one; returns the examples per second of each epoch."""
    result = Training(config, dataset, World.current("cuda" if torch.cuda.is_available() else "cpu")).run()
    return [report.examples_per_second for report in result.history]


def make_dataset(home: Path) -> Dataset:
    """Ingests MNIST as a user would."""
    config = IngestConfig(source=str(data_folder()), name="mnist")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        return Dataset.open(ingest(config, str(home), pool.map).uri)


def wait_until_quiet(patience_seconds: int) -> float:
    """Waits for other work on this machine to end; returns how busy its CPUs were at last, in percent."""
    deadline = time.monotonic() + patience_seconds
    while (busy := psutil.cpu_percent(2.0)) > QUIET_PERCENT and time.monotonic() < deadline:
        pass
    return busy


@contextmanager
def services(home: Path) -> Iterator[None]:
    """Starts the embedded services, which also idle beside the rows without them; none on a GPU."""
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from pipelines.services import connect

    with nullcontext() if torch.cuda.is_available() else connect(home):
        yield


def measure(bench: Bench, row: str, patience_seconds: int) -> float:
    """Measures a row once; returns the median examples per second of its epochs after the first."""
    busy = wait_until_quiet(patience_seconds)
    steady = bench.row(row)[1:]
    median = statistics.median(steady)
    print(f"{row:<14}{median:>12,.0f}{min(steady):>12,.0f}{max(steady):>12,.0f}   {busy:.0f} %", flush=True)
    return median


def main() -> None:
    """Measures and prints."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.train_throughput", description="See the module.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="of each run; the first is not counted")
    parser.add_argument("--patience", type=int, default=60, help="seconds that a row waits for other work to end")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(GPU_ROWS if on_gpu else ROWS))
    parser.add_argument("--before", type=Path, help="another checkout, to compare this one with and nothing else")
    chosen = parser.parse_args()
    if not data_folder().is_dir():
        print(f"skipped: no MNIST at {data_folder()}; set BETALINE_TEST_DATA to the folder that holds mnist/")
        return
    rows: list[str] = list(CHECKOUTS) if chosen.before else chosen.rows
    pythae, reason = find_pythae() if any(row.startswith("pythae") for row in rows) else (None, "")
    if reason:
        rows = [row for row in rows if not row.startswith("pythae")]
        print(f"skipped: no Pythae ({reason}); set BETALINE_PYTHAE_PYTHON to an interpreter that has it")
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / "home"
        dataset = make_dataset(home)
        share = Share.of(dataset, "train", binarization="static")
        data = Path(temporary) / "train.npy"
        np.save(data, share.read(share.start, share.stop).values)
        print(f"{share.num_rows:,} examples, {machine()}")
        with nullcontext() if chosen.before else services(home):
            bench = Bench(dataset, data, chosen.epochs, pythae, chosen.before)
            print(f"\n{'row':<14}{'examples/s':>12}{'slowest':>12}{'fastest':>12}   CPUs busy before")
            rates = alternate({row: partial(measure, bench, row, chosen.patience) for row in rows}, chosen.rounds)
    print()
    print_rates(rates, "examples/s")
    for ratio in GPU_RATIOS if on_gpu else RATIOS:
        if {ratio.above, ratio.below} <= set(rates):
            name = f"{ratio.above} / {ratio.below}"
            print_ratio(name, ratios(rates, ratio.above, ratio.below), floor=ratio.floor)


if __name__ == "__main__":
    main()
