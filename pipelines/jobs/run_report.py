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
from pipelines.report.gathering import seen
from vae import progress
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.model import VAE


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
