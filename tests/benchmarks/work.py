"""Jobs behind a table, each in its own process, and the training that they share."""

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
from vae.draws import RowDraws
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.seeds import Stream
from vae.training.hooks import EpochReport, Hooks, TrainingResult
from vae.training.latents import fit_latents
from vae.training.loop import Training
from vae.training.world import World

Budget = Literal["smoke", "cpu", "full"]
BUDGET_NAMES: tuple[Budget, ...] = ("smoke", "cpu", "full")
MOST_PRINTED = 12
"""Figures of a job that are printed when it ends; its page has all."""
Figures = Mapping[str, float]
"""Figures that a job measured, by name."""


@dataclass(frozen=True)
class Job:
    """One model, one seed."""

    row: str
    """Row of the table."""
    setting: str
    """Data and protocol. Rows are compared within one setting."""
    seed: int
    work: Callable[[], Figures]
    """Measures; picklable."""
    weight: float = 1.0
    """Duration in any unit; the longest jobs start first."""


@dataclass(frozen=True)
class Outcome:
    """The result of a job."""

    row: str
    setting: str
    seed: int
    figures: Figures
    seconds: float


def run_jobs(jobs: Sequence[Job], num_processes: int, kept: Path | None = None) -> list[Outcome]:
    """Runs all jobs, each with one thread, the longest first; prints the first figures of each.

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
            figures = "  ".join(f"{name} {value:.3f}" for name, value in [*outcome.figures.items()][:MOST_PRINTED])
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
    """Returns the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _LastWeights(Hooks):
    """Keeps the weights of the last epoch, which a run replaces by those of the best one."""

    def __init__(self) -> None:
        self.model: VAE | None = None
        self.weights: dict[str, torch.Tensor] = {}

    def on_epoch(self, report: EpochReport) -> None:
        if report.is_last and self.model is not None:
            self.weights = {name: value.clone() for name, value in self.model.state_dict().items()}


def train(config: RunConfig, dataset: Dataset, *, last: bool = False, latents: bool = False) -> TrainingResult:
    """Trains, and returns the result with the weights of the best validation bound, or of the last epoch.

    Args:
        config: Configuration of the run.
        dataset: Training and validation data.
        last: Whether to take the last epoch's weights.
        latents: Whether to fit what a finished run fits to its latents, such as directions.
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
    """Ingests a dataset as a user would, and opens it."""
    return Dataset.open(ingest(config, str(home), map).uri)


def inputs_of(model: VAE, batch: Batch, seed: int) -> Inputs:
    """Returns a batch as the inputs of a model."""
    draws = RowDraws(seed, Stream.EVALUATION, device=batch.values.device)
    return model.inputs(batch.values, batch.labels, batch.attributes, batch.observed, draws=draws)
