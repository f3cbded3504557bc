"""The report of a run, drawn as the run ends, with success or not, and logged with it in MLflow."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import report
from pipelines.cluster.runs import REPORT
from pipelines.jobs.job import Job
from pipelines.models import tracking
from pipelines.report import Evidence
from vae import progress
from vae.data.batches import Batch, InOrder, Share
from vae.data.fitting import worth_knowing
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.metrics.likelihood import bound_sums
from vae.model import VAE
from vae.training.hooks import EpochReport
from vae.training.verdict import judge, judge_data, measure

MOST_ROWS, MOST_BOUND_ROWS = 1_000, 2_000
"""Largest numbers of rows of a split, which ingest has shuffled: for the pictures, and for a training's figures."""


def log(job: Job, run_id: str, files: Iterable[Path], folder: str = tracking.REPORT_FOLDER) -> str:
    """Logs a report's files with a run of MLflow and notes their place in the job's folder; returns the URI of the page."""
    tracking.log_files(run_id, files, folder)
    page = f"{folder}/report.html"
    job.folder.write(REPORT, {"experiment_id": tracking.experiment_of(run_id), "run_id": run_id, "path": page})
    return f"runs:/{run_id}/{page}"


def draw(job: Job, run_id: str, evidence: Evidence, folder: str = tracking.REPORT_FOLDER) -> str:
    """Draws a report and logs it; returns the URI of the page."""
    with TemporaryDirectory() as scratch:
        return log(job, run_id, report.write(evidence, Path(scratch)).values(), folder)


def leave(job: Job, run_id: str, make: Callable[[], Evidence], folder: str = tracking.REPORT_FOLDER) -> str | None:
    """Draws and logs the report of a job and returns its URI; None if that failed, with the reason in the job's log.

    A run that trained for hours does not fail because a picture does.
    """
    progress.report("measuring for the report")
    try:
        return draw(job, run_id, make(), folder)
    except Exception:
        print("the report of this run could not be drawn; everything else is complete:", file=sys.stderr, flush=True)
        traceback.print_exc()
        return None


@contextmanager
def left_on_failure(
    job: Job, run_id: str, make: Callable[[str], Evidence], folder: str = tracking.REPORT_FOLDER
) -> Iterator[None]:
    """Leaves a report if the block fails, and raises its error again; `make` takes the error message."""
    try:
        yield
    except Exception as error:
        is_ours = isinstance(error, BetalineError)
        message = f"{type(error).__name__}: {error}" if is_ours else traceback.format_exc()
        leave(job, run_id, lambda: make(message), folder)
        raise


def noted(known: Evidence, dataset: Dataset) -> Evidence:
    """Returns the evidence with what is worth knowing about the data, which the job's log says too."""
    likelihood, transform = known.config.model.likelihood, known.config.data.transform
    densities = likelihood.scores_by_densities and transform == "standard"
    notes = list(worth_knowing(dataset, densities=densities))
    for note in notes:
        print(f"worth knowing: {note}", flush=True)
    return replace(known, notes=notes)


def judged(known: Evidence, dataset: Dataset, model: VAE) -> Evidence:
    """Returns the evidence with the verdict on the run that trained a model."""
    config, history = known.config, [EpochReport(**epoch) for epoch in known.history]
    if not history:
        return known
    progress.report("judging the run")
    findings = judge(config, history, measure(config, dataset, model))
    return replace(known, findings=[*known.findings, *findings, *judge_data(config, dataset, model)])


def seen(known: Evidence, model: VAE, dataset: Dataset) -> Evidence:
    """Returns the evidence with a model and its figures on the first rows of the split."""
    config = known.config
    share = Share.of(
        dataset, known.split, binarization=config.model.likelihood.binarization_policy, missing=config.data.missing
    )
    few = replace(share, stop=min(share.stop, MOST_BOUND_ROWS))
    bound = bound_sums(model, InOrder(few), seed=0).bound()
    return replace(known, model=model, rows=fixed_rows(share), bound=bound)


@dataclass(frozen=True)
class Left:
    """Model that a run which did not finish has left at a checkpoint."""

    known: Evidence
    """Evidence of the run with the model's epochs and trial."""
    model: VAE
    """The model, with its weights at the checkpoint."""
    whose: str
    """Phrase that names the weights."""


def seen_at_checkpoint(known: Evidence, dataset: Dataset, load: Callable[[Evidence], Left | None]) -> Evidence:
    """Returns the evidence of a run that did not finish, with the model that it has left, if any."""
    try:
        if (left := load(known)) is None:
            return replace(known, why_no_model="the run has left no checkpoint")
        shown = replace(left.known, model=left.model)
        if not shown.is_finite:
            return replace(shown, model_note=f"The weights of {left.whose} are not finite numbers.")
        note = f"Scores and pictures are of {left.whose}; on {known.split} data."
        return replace(seen(shown, left.model, dataset), model_note=note)
    # Such a run may have left anything, and its report is drawn all the same.
    except Exception as error:
        print("the report is without a model:", file=sys.stderr, flush=True)
        traceback.print_exc()
        note = f"What the run has left at checkpoints cannot be shown. {type(error).__name__}: {error}"
        return replace(known, why_no_model="no checkpoint can be shown", model_note=note)


def fixed_rows(share: Share) -> Batch:
    """Returns the first rows of a split with pixels as stored: the same rows in every report on a dataset."""
    return replace(share, binarization=None).load(0, min(MOST_ROWS, share.num_rows))
