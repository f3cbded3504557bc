"""Cost of lanes, and of a search with them: `python -m tests.benchmarks.search`.

`stacks`: seconds of eight models in lanes over seconds of one of them trained by itself, alternated in one process.
`front`: 3 architectures × 8 weights of the rate on MNIST, as stacks and as 24 trials of the same search, on the embedded
services: the wall time, and the hypervolume of the fronts. `overhead`: what a search of 24 trials takes beside what they
train. `rates`: a front of 8 weights by separate runs, by lanes and by one Multi-Rate model; see `rates.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pipelines.data.ingest import IngestConfig
from pipelines.stages.tune import TuneRequest, TuneResult
from tests.benchmarks.alternating import alternate, machine, print_rates, print_ratio, ratios
from tests.benchmarks.ingest import data_folder
from tests.benchmarks.rates import rates
from tests.benchmarks.train_throughput import services
from tests.benchmarks.work import published
from tuning.frontier import hypervolume
from vae.config import RunConfig, override, parse
from vae.data.parquet import Dataset
from vae.training.lanes import LaneTraining
from vae.training.loop import Training
from vae.training.world import set_up_process

BETAS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
MOST_DIGITS, MOST_MNIST, MOST_WALL, LEAST_AREA, MOST_SECONDS = 1.5, 4.5, 0.5, 0.99, 3.0
BODIES: list[dict[str, Any]] = [{"kind": "mlp", "hidden": hidden} for hidden in ([128], [256], [256, 128])]


def base(hidden: list[int], latent_dim: int, epochs: int, batch_size: int) -> RunConfig:
    """Returns the run of a model of one body."""
    values = {
        "model": {"latent_dim": latent_dim, "encoder": {"kind": "mlp", "hidden": hidden}},
        "training": {"epochs": epochs, "batch_size": batch_size, "patience_epochs": None, "aggregate_components": 0},
    }
    return parse(RunConfig, values)


def seconds_of(work: Callable[[], object]) -> float:
    """Returns the wall time of some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def stacks(digits: Dataset, mnist: Dataset, rounds: int) -> None:
    """Compares eight lanes with one model, of a small and of a larger kind."""
    cases = (
        ("digits 64-128-128-10", digits, base([128, 128], 10, 100, 64), MOST_DIGITS),
        ("MNIST 784-256-16", mnist, base([256], 16, 1, 128), MOST_MNIST),
    )
    for name, dataset, config, ceiling in cases:
        lanes = [override(config, {"objective.beta": beta}) for beta in BETAS]
        rows: dict[str, Callable[[], float]] = {
            f"{name}: one model": lambda config=config, dataset=dataset: seconds_of(Training(config, dataset).run),
            f"{name}: 8 lanes": lambda lanes=lanes, dataset=dataset: seconds_of(LaneTraining(lanes, dataset).run),
        }
        found = alternate(rows, rounds)
        print_rates(found, "seconds")
        above, below = reversed(rows)
        print_ratio(f"{name}: 8 lanes / one", ratios(found, above, below), ceiling=ceiling)


def searched(dataset: Dataset, **search: Any) -> tuple[float, TuneResult]:
    """Returns the seconds of a search by its flow, and its result."""
    from pipelines.flows import job_events
    from pipelines.flows.tune import tune

    request = parse(TuneRequest, {"dataset": dataset.uri, "name": "bench", "search": search}, "benchmark")
    started = time.perf_counter()
    with job_events.session(lambda kind, event: None):
        result = tune(request, run=f"bench-{uuid.uuid4().hex[:12]}")
    return time.perf_counter() - started, result


def front(mnist: Dataset, epochs: int, rounds: int) -> None:
    """Compares 24 points in three stacks with 24 trials."""
    space = {
        "model.encoder": {"kind": "choice", "values": BODIES},
        "objective.beta": {"kind": "choice", "values": list(BETAS)},
    }
    config = base([256], 16, epochs, 128)
    found: dict[str, list[float]] = {"stacks": [], "trials": []}
    areas = []
    for _ in range(rounds):
        fronts = {}
        for name in found:
            search = {"base": config.model_dump(), "space": space, "lanes": name == "stacks", "grace_epochs": epochs}
            seconds, result = searched(mnist, **search)
            found[name].append(seconds)
            fronts[name] = list(result.trials)
            assert len(fronts[name]) == len(BODIES) * len(BETAS), "none was lost, and none logged twice"
        everything = [trial for trials in fronts.values() for trial in trials]
        rate, distortion = (max(getattr(trial, axis) or 0 for trial in everything) for axis in ("rate", "distortion"))
        areas.append(hypervolume(fronts["stacks"], rate, distortion) / hypervolume(fronts["trials"], rate, distortion))
    print_rates(found, "seconds")
    print_ratio("24 points: stacks / trials", ratios(found, "stacks", "trials"), ceiling=MOST_WALL)
    print_ratio("hypervolume: stacks / trials", areas, floor=LEAST_AREA)


def overhead(digits: Dataset) -> None:
    """Prints the overhead of a search of 24 trials of about a second, for each trial and worker."""
    config = base([128, 128], 10, 15, 32)
    space = {
        "objective.beta": {"kind": "uniform", "low": 0.5, "high": 4.0},
        "model.latent_dim": {"kind": "integers", "low": 4, "high": 16},
    }
    search = {"base": config.model_dump(), "space": space, "num_trials": 24, "grace_epochs": 15}
    wall, result = searched(digits, **search)
    assert len({trial.trial_id for trial in result.trials}) == 24, "none was lost, and none logged twice"
    alone = seconds_of(Training(config, digits).run)
    workers = os.cpu_count() or 1
    per_trial = (wall * workers - 24 * alone) / 24
    print(f"{'a trial by itself, seconds':<32}{alone:>12.2f}\n{'the search, seconds':<32}{wall:>12.1f}")
    print_ratio("seconds beside, trial and worker", [per_trial], ceiling=MOST_SECONDS)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.search", description="See the module.")
    parser.add_argument(
        "--parts", nargs="*", choices=("stacks", "front", "overhead", "rates"), default=["stacks", "front", "overhead"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--front-rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5, help="of the front")
    parser.add_argument("--rates-on", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--seeds", type=int, default=3, help="of the rates")
    chosen = parser.parse_args()
    set_up_process(torch.get_num_threads())  # as a worker is
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        digits = published(IngestConfig(source="sklearn:digits", name="digits"), home)
        mnist = cache(lambda: published(IngestConfig(source=str(data_folder()), name="mnist"), home))
        if "stacks" in chosen.parts:
            stacks(digits, mnist(), chosen.rounds)
        if "rates" in chosen.parts:
            on_digits = chosen.rates_on == "digits"
            config = base([128, 128], 10, 100, 64) if on_digits else base([256], 16, 10, 128)
            command = " ".join(["python -m tests.benchmarks.search", *sys.argv[1:]])
            rates(digits if on_digits else mnist(), config, chosen.seeds, command)
        if {"front", "overhead"} & {*chosen.parts}:
            torch.set_num_threads(1)
            with services(home):
                if "front" in chosen.parts:
                    front(mnist(), chosen.epochs, chosen.front_rounds)
                if "overhead" in chosen.parts:
                    overhead(digits)


if __name__ == "__main__":
    main()
