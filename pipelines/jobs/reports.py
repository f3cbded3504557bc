"""The report of a run, made as the run ends, well or not, and logged with it in MLflow."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import registry, report
from pipelines.report import Evidence
from vae.data.batches import Batch, InOrder, Share
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.likelihoods import binarization
from vae.metrics.likelihood import bound_sums
from vae.model import VAE

MOST_ROWS, MOST_BOUND_ROWS = 1_000, 10_000
"""Of a split, which ingest has shuffled: what the pictures are made of, and what a training's figures are measured on."""


def leave(run_id: str, make: Callable[[], Evidence]) -> str | None:
    """Logs a run's report with it, and returns the artifact's URI; None where that failed, which is told in the job's log.

    A run that trained for hours does not fail for want of a picture.
    """
    print("writing the report", flush=True)
    try:
        with TemporaryDirectory() as scratch:
            registry.log_files(run_id, report.write(make(), Path(scratch)).values(), registry.REPORT_FOLDER)
    except Exception:
        print("there is no report of this run; nothing else is the worse for it:", file=sys.stderr, flush=True)
        traceback.print_exc()
        return None
    return f"runs:/{run_id}/{registry.REPORT}"


@contextmanager
def left_on_failure(run_id: str, make: Callable[[str], Evidence]) -> Iterator[None]:
    """Leaves a report where the block fails: `make` is given what it said. The error goes on."""
    try:
        yield
    except Exception as error:
        refused = isinstance(error, BetalineError)
        said = f"{type(error).__name__}: {error}" if refused else traceback.format_exc()
        leave(run_id, lambda: make(said))
        raise


def seen(known: Evidence, model: VAE, dataset: Dataset) -> Evidence:
    """The same with a model, and what it does on the first rows of the split."""
    config = known.config
    share = Share.of(
        dataset, known.split, binarization=binarization(config.model.likelihood), missing=config.data.missing
    )
    few = replace(share, stop=min(share.stop, MOST_BOUND_ROWS))
    bound = bound_sums(model, InOrder(few), seed=0).bound()
    return replace(known, model=model, rows=fixed_rows(share), bound=bound)


def fixed_rows(share: Share) -> Batch:
    """The first rows of a split, pixels as they are: the same in every report on a dataset."""
    return replace(share, binarization=None).load(0, min(MOST_ROWS, share.num_rows))
