"""The work behind a table: jobs in processes of their own, and the training that they share."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from pipelines.data.ingest import IngestConfig, ingest
from vae.config import RunConfig
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.model import VAE, Inputs
from vae.training.latents import fit_latents
from vae.training.loop import Training
from vae.training.reports import EpochReport, Hooks, TrainingResult
from vae.training.world import World

Budget = Literal["smoke", "cpu", "full"]
BUDGET_NAMES: tuple[Budget, ...] = ("smoke", "cpu", "full")
Figures = Mapping[str, float]
"""What a job found, by the figure's name."""


@dataclass(frozen=True)
class Job:
    """One model, one seed."""

    row: str
    """Of the table."""
    setting: str
    """Data and protocol: what is compared only within itself."""
    seed: int
    work: Callable[[], Figures]
    """Picklable."""
    weight: float = 1.0
    """How long it takes, in any unit; the longest begin first."""


@dataclass(frozen=True)
class Outcome:
    """What a job came to."""

    row: str
    setting: str
    seed: int
    figures: Figures
    seconds: float


@dataclass(frozen=True)
class Claim:
    """A statement that a table is to show, and the verdict on it."""

    text: str
    target: str
    found: str
    holds: bool | None
    """None where the figures show neither that it holds nor that it does not."""


@dataclass(frozen=True)
class Table:
    """A table to be filled."""

    title: str
    protocol: Sequence[str]
    """What was done, a sentence or two each."""
    shortfalls: Sequence[str]
    """What differs from the papers, and why."""
    jobs: Sequence[Job]
    render: Callable[[Sequence[Outcome]], str]
    """The table itself, in Markdown."""
    claims: Callable[[Sequence[Outcome]], Sequence[Claim]]
    legend: str = "Mean ± standard deviation over seeds (each seed). ° recalled from the paper's table, not read again."
    """Under the table."""


def run_jobs(jobs: Sequence[Job], num_processes: int, kept: Path | None = None) -> list[Outcome]:
    """Runs all jobs, each with one thread, the longest first; prints the figures of each.

    Args:
        jobs: The jobs.
        num_processes: Number of jobs at a time.
        kept: Folder of outcomes: a job whose outcome is in it is not run again, and every outcome is written to it.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    outcomes, started = [], time.monotonic()
    with ProcessPoolExecutor(num_processes, context, torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(_outcome, job, kept) for job in sorted(jobs, key=lambda job: -job.weight)]
        for future in as_completed(futures):
            outcome = future.result()
            outcomes.append(outcome)
            figures = "  ".join(f"{name} {value:.3f}" for name, value in outcome.figures.items())
            print(
                f"{time.monotonic() - started:6.0f} s  {len(outcomes)}/{len(jobs)}  {outcome.row}, {outcome.setting}, "
                f"seed {outcome.seed}: {figures}  ({outcome.seconds:.0f} s)",
                flush=True,
            )
    return outcomes


def _outcome(job: Job, kept: Path | None) -> Outcome:
    """Returns the kept outcome of a job, or else runs it."""
    file = None if kept is None else kept / f"{job.row}, {job.setting}, {job.seed}.json".replace("/", "-")
    if file is not None and file.exists():
        return Outcome(**json.loads(file.read_text()))
    started = time.monotonic()
    figures = job.work()
    outcome = Outcome(job.row, job.setting, job.seed, figures, time.monotonic() - started)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(outcome)))
    return outcome


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _LastWeights(Hooks):
    """Keeps the weights of the last epoch, which a run gives up for those of the best one."""

    def __init__(self) -> None:
        self.model: VAE | None = None
        self.weights: dict[str, torch.Tensor] = {}

    def on_epoch(self, report: EpochReport) -> None:
        if report.is_last and self.model is not None:
            self.weights = {name: value.clone() for name, value in self.model.state_dict().items()}


def train(config: RunConfig, dataset: Dataset, *, last: bool = False, latents: bool = False) -> TrainingResult:
    """A finished run, with the weights of the epoch with the best validation bound, or of the last one.

    Args:
        config: The run.
        dataset: What it learns from.
        last: Take the last epoch's weights.
        latents: Give the model what a finished run learns of its latents, such as directions.
    """
    hooks = _LastWeights()
    training = Training(config, dataset, World(device=device()), hooks=hooks)
    hooks.model = training.shipped
    result = training.run()
    if last:
        result.model.load_state_dict(hooks.weights)
    if latents:
        fit_latents(training.model, training.config, training.dataset)
    return result


def published(config: IngestConfig, home: Path) -> Dataset:
    """A dataset, ingested as a user would."""
    return Dataset.open(ingest(config, str(home), map, lambda done, total: None).uri)


def inputs_of(model: VAE, batch: Batch, seed: int) -> Inputs:
    """A batch as the model takes it."""
    generator = torch.Generator(batch.values.device).manual_seed(seed)
    return model.inputs(batch.values, batch.labels, batch.attributes, batch.observed, generator=generator)
