"""The entry point of every job. Leaves `result.json` beside the spec, or `error.json` with the error."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence

from pydantic_core import to_jsonable_python

from pipelines.cluster.runs import RESULT, emit_progress
from pipelines.jobs.job import Job
from pipelines.models.refusals import as_refusal
from vae import progress

# Ray reads these from its driver's environment when it is imported. By default Ray Train waits for ever for workers that
# never come, and ten minutes for one that hangs, and Ray folds equal lines of several workers into one.
LIMITS = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_DEDUP_LOGS": "0",
}
KINDS = ("ingest", "train", "tune", "evaluate", "apply", "drift", "report")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one job; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.jobs", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--spec", required=True, help="path or URI of the job's spec.json")
    chosen = parser.parse_args(arguments)
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)
    with progress.listening(emit_progress):
        return _run(chosen.kind, chosen.spec)


def _run(kind: str, spec_uri: str) -> int:
    progress.report("loading libraries")
    gc.disable()  # what is imported stays: a fifth of the time went into looking for garbage in it
    module = importlib.import_module(f"pipelines.jobs.{kind}")
    gc.freeze()
    gc.enable()
    job = Job(spec_uri, module.Request)
    try:
        result = module.run(job)
    except Exception as raised:
        error = as_refusal(raised)
        if error is None:
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # first: a full disk takes no file
        job.folder.write_error(error)
        return 1
    job.folder.write(RESULT, to_jsonable_python(result))
    progress.report("ending the job")
    return 0


if __name__ == "__main__":
    sys.exit(main())
