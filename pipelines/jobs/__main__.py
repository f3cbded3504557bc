"""The entry point of every job. Leaves `result.json` beside the spec, or `error.json` with what was refused."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from pipelines.jobs.job import Job
from vae.storage import write_whole
from vae.errors import BetalineError

KINDS = ("ingest", "train", "tune", "evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one job; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.jobs", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--spec", required=True, help="path or URI of the job's spec.json")
    chosen = parser.parse_args(arguments)
    job = Job(chosen.spec)
    try:
        result = importlib.import_module(f"pipelines.jobs.{chosen.kind}").run(job)
    except BetalineError as error:
        refusal = {"type": type(error).__name__, "message": str(error)}
        write_whole(job.folder / "error.json", json.dumps(refusal).encode())
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    write_whole(job.folder / "result.json", json.dumps(result).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
