"""How fast a `betaline train` worker trains: `python -m tests.benchmarks.train_throughput`.

An MLP of 784-512-16 and back on MNIST, Bernoulli likelihood, one fixed binary draw of the pixels, AdamW. The rows are
alternated, A B C A B C …, and compared within a round, for on a shared machine the rounds differ more than the rows do:

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
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import venv
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from pipelines.data.ingest import IngestConfig, ingest
from tests.benchmarks.ingest import data_folder
from vae.config import RunConfig, parse
from vae.data.batches import Share
from vae.data.parquet import Dataset
from vae.training.loop import Training, World

HERE = Path(__file__).parent
BATCH_SIZE, WORKER_BATCH_SIZE, LEARNING_RATE = 128, 512, 1e-3
THREADS = 1
"""Of every loop: what a worker has unless it asks for more. A thread for each of two CPUs, which the daemons of Ray,
Prefect and MLflow share, measures how often those interrupt a barrier."""
QUIET_PERCENT = 25.0
"""Of all CPUs, that other work may take when a row begins. The services alone take some 10 % of two."""
ROWS = ("bare", "betaline", "pythae", "pythae-fused", "one", "two", "streaming")
CHECKOUTS = ("after", "before")
GPU_ROWS = ROWS[:4]


@dataclass(frozen=True)
class Ratio:
    """A claim: one row's throughput over another's."""

    above: str
    below: str
    floor: float | None
    """None where nothing is claimed."""


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
    """What all rows train on, and for how long."""

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
        config = self.configuration(1, THREADS, BATCH_SIZE).model_dump(mode="json")
        values = {"config": config, "dataset": self.dataset.uri, "threads": THREADS}
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "PYTHONPATH": str(folder)}
        command = [sys.executable, str(HERE / "direct_loop.py"), json.dumps(values)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{folder} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def script(self, name: str, python: str | Path, **arguments: Any) -> list[float]:
        """Examples per second of each epoch of a loop in a process of its own."""
        values = {
            "data": str(self.data),
            "epochs": self.epochs,
            "batch_size": BATCH_SIZE,
            "threads": THREADS,
            "learning_rate": LEARNING_RATE,
            **arguments,
        }
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
        command = [str(python), str(HERE / name), json.dumps(values)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def configuration(self, num_workers: int, threads: int, batch_size: int, feed: str = "resident") -> RunConfig:
        """Of a betaline row."""
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
        """Examples per second of each epoch of a `betaline train`."""
        from pipelines.flows import listening
        from pipelines.flows import stages as flows  # Prefect reads its settings when it is imported
        from pipelines.flows.requests import TrainRequest

        request = TrainRequest(dataset=self.dataset.uri, name="bench", config=config)
        with listening.session(lambda kind, event: None):
            history = flows.train(request, run=f"bench-{uuid.uuid4().hex[:12]}")["history"]
        return [epoch["examples_per_second"] for epoch in history]

    def direct(self, config: RunConfig) -> list[float]:
        """The same without a cluster, in a fresh process."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(train_directly, config, self.dataset).result()

    def row(self, name: str) -> list[float]:
        """Measure a row once."""
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
    """Examples per second of each epoch of `Training` in this process, on the GPU if there is one."""
    result = Training(config, dataset, World.current("cuda" if torch.cuda.is_available() else "cpu")).run()
    return [report.examples_per_second for report in result.history]


def make_dataset(home: Path) -> Dataset:
    """MNIST, ingested as a user would."""
    config = IngestConfig(source=str(data_folder()), name="mnist")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        return Dataset.open(ingest(config, str(home), pool.map, lambda done, total: None).uri)


def find_pythae() -> tuple[Path | None, str]:
    """An interpreter that has Pythae 0.1.2, or why there is none."""
    named = os.environ.get("BETALINE_PYTHAE_PYTHON")
    folder = Path(tempfile.gettempdir()) / f"betaline-pythae-0.1.2-{os.getuid()}"
    python = Path(named) if named else folder / "bin" / "python"
    check = [str(python), "-c", "import pythae.trainers"]
    try:
        if not named and (not python.exists() or subprocess.run(check, capture_output=True, check=False).returncode):
            print(f"installing pythae 0.1.2 into {folder} …", flush=True)
            venv.create(folder, with_pip=True, clear=True)
            install = [str(python), "-m", "pip", "install", "--quiet", "pythae==0.1.2", "torch==2.13.0"]
            subprocess.run(install, capture_output=True, text=True, check=True)
        subprocess.run(check, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        return None, str(output).strip().splitlines()[-1]
    return python, ""


def wait_until_quiet(patience_seconds: int) -> float:
    """Waits for other work on this machine to end; returns how busy its CPUs were at last, in percent."""
    deadline = time.monotonic() + patience_seconds
    while (busy := psutil.cpu_percent(2.0)) > QUIET_PERCENT and time.monotonic() < deadline:
        pass
    return busy


@contextmanager
def services(home: Path) -> Iterator[None]:
    """The embedded services, which also idle beside the rows that do not need them; none on a GPU."""
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from pipelines.services import connect

    with nullcontext() if torch.cuda.is_available() else connect(home):
        yield


def measure(bench: Bench, rows: list[str], rounds: int, patience_seconds: int) -> dict[str, list[list[float]]]:
    """Examples per second of every row in every round, for each epoch but the first."""
    rates: dict[str, list[list[float]]] = {row: [] for row in rows}
    print(f"\n{'round':>5}  {'row':<14}{'examples/s':>12}{'slowest':>12}{'fastest':>12}   CPUs busy before")
    for number in range(1, rounds + 1):
        for row in rows:
            busy = wait_until_quiet(patience_seconds)
            steady = bench.row(row)[1:]
            rates[row].append(steady)
            print(
                f"{number:>5}  {row:<14}{statistics.median(steady):>12,.0f}{min(steady):>12,.0f}{max(steady):>12,.0f}"
                f"   {busy:.0f} %",
                flush=True,
            )
    return rates


def report(rates: dict[str, list[list[float]]], ratios: Iterable[Ratio]) -> None:
    """The table. Beside a ratio's median and range over the rounds, that of the two rows' fastest epochs of all."""
    medians = {row: [statistics.median(steady) for steady in rounds] for row, rounds in rates.items()}
    best = {row: max(max(steady) for steady in rounds) for row, rounds in rates.items()}
    print(f"\n{'examples/s':<24}{'median':>10}{'min':>10}{'max':>10}{'fastest':>10}")
    for row, found in medians.items():
        print(f"{row:<24}{statistics.median(found):>10,.0f}{min(found):>10,.0f}{max(found):>10,.0f}{best[row]:>10,.0f}")
    for above, below, floor in ((r.above, r.below, r.floor) for r in ratios if {r.above, r.below} <= set(rates)):
        found = [a / b for a, b in zip(medians[above], medians[below], strict=True)]
        median = statistics.median(found)
        verdict = "" if floor is None else f"  floor {floor:<5} {'ok' if median >= floor else 'BELOW'}"
        print(
            f"{f'{above} / {below}':<24}{median:>10.3f}{min(found):>10.3f}{max(found):>10.3f}"
            f"{best[above] / best[below]:>10.3f}{verdict}"
        )


def main() -> None:
    """Measure and print."""
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
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        where = torch.cuda.get_device_name() if on_gpu else f"{os.cpu_count()} CPUs, load average {load}"
        print(f"{share.num_rows:,} examples, torch {torch.__version__}, {where}")
        with nullcontext() if chosen.before else services(home):
            bench = Bench(dataset, data, chosen.epochs, pythae, chosen.before)
            rates = measure(bench, rows, chosen.rounds, chosen.patience)
    report(rates, GPU_RATIOS if on_gpu else RATIOS)


if __name__ == "__main__":
    main()
