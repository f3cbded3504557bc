"""The report of a run, made as the run ends, well or not, and logged with it in MLflow."""

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
from vae.data.batches import Batch, InOrder, Share
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.metrics.likelihood import bound_sums
from vae.model import VAE
from vae.training.reports import EpochReport
from vae.training.verdict import judge, judge_data, measure

MOST_ROWS, MOST_BOUND_ROWS = 1_000, 10_000
"""Of a split, which ingest has shuffled: what the pictures are made of, and what a training's figures are measured on."""


def log(job: Job, run_id: str, files: Iterable[Path], folder: str = tracking.REPORT_FOLDER) -> str:
    """Logs a report's files with a run of MLflow and notes in the job's folder where; returns the URI of its page."""
    tracking.log_files(run_id, files, folder)
    page = f"{folder}/report.html"
    job.folder.write(REPORT, {"experiment_id": tracking.experiment_of(run_id), "run_id": run_id, "path": page})
    return f"runs:/{run_id}/{page}"


def draw(job: Job, run_id: str, evidence: Evidence, folder: str = tracking.REPORT_FOLDER) -> str:
    """Draws a report and logs it; returns the URI of its page."""
    with TemporaryDirectory() as scratch:
        return log(job, run_id, report.write(evidence, Path(scratch)).values(), folder)


def leave(job: Job, run_id: str, make: Callable[[], Evidence], folder: str = tracking.REPORT_FOLDER) -> str | None:
    """Logs the report of a job, and returns its URI; None where that failed, which is told in the job's log.

    A run that trained for hours does not fail for want of a picture.
    """
    print("writing the report", flush=True)
    try:
        return draw(job, run_id, make(), folder)
    except Exception:
        print("there is no report of this run; nothing else is the worse for it:", file=sys.stderr, flush=True)
        traceback.print_exc()
        return None


@contextmanager
def left_on_failure(
    job: Job, run_id: str, make: Callable[[str], Evidence], folder: str = tracking.REPORT_FOLDER
) -> Iterator[None]:
    """Leaves a report where the block fails: `make` is given what it said. The error goes on."""
    try:
        yield
    except Exception as error:
        refused = isinstance(error, BetalineError)
        said = f"{type(error).__name__}: {error}" if refused else traceback.format_exc()
        leave(job, run_id, lambda: make(said), folder)
        raise


def judged(known: Evidence, dataset: Dataset, model: VAE) -> Evidence:
    """Returns the same with the verdict on the run that trained a model."""
    config, history = known.config, [EpochReport(**epoch) for epoch in known.history]
    if not history:
        return known
    findings = judge(config, history, measure(config, dataset, model))
    return replace(known, findings=[*known.findings, *findings, *judge_data(config, dataset, model)])


def seen(known: Evidence, model: VAE, dataset: Dataset) -> Evidence:
    """The same with a model, and what it does on the first rows of the split."""
    config = known.config
    share = Share.of(
        dataset, known.split, binarization=config.model.likelihood.binarization_policy, missing=config.data.missing
    )
    few = replace(share, stop=min(share.stop, MOST_BOUND_ROWS))
    bound = bound_sums(model, InOrder(few), seed=0).bound()
    return replace(known, model=model, rows=fixed_rows(share), bound=bound)


@dataclass(frozen=True)
class Left:
    """The model that a run which did not finish has left at a checkpoint."""

    known: Evidence
    """What the run tells, and what this model adds to it: its epochs, its trial."""
    model: VAE
    whose: str
    """Whose weights these are, in words."""


def seen_at_checkpoint(known: Evidence, dataset: Dataset, load: Callable[[Evidence], Left | None]) -> Evidence:
    """The same of a run that did not finish, with the model that it has left, if it has."""
    try:
        if (left := load(known)) is None:
            return replace(known, why_no_model="the run has left no checkpoint")
        told = replace(left.known, model=left.model)
        if not told.is_finite:
            return replace(told, model_note=f"The weights of {left.whose} are not finite numbers.")
        note = f"Scores and pictures are of {left.whose}; on {known.split} data."
        return replace(seen(told, left.model, dataset), model_note=note)
    # Such a run may have left anything, and the report is to say what became of it all the same.
    except Exception as error:
        print("the report is without a model:", file=sys.stderr, flush=True)
        traceback.print_exc()
        note = f"What the run has left at checkpoints cannot be shown. {type(error).__name__}: {error}"
        return replace(known, why_no_model="no checkpoint can be shown", model_note=note)


def fixed_rows(share: Share) -> Batch:
    """The first rows of a split, pixels as they are: the same in every report on a dataset."""
    return replace(share, binarization=None).load(0, min(MOST_ROWS, share.num_rows))
