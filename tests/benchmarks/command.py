"""The command line of a published table: options, jobs, and the page."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from tests.benchmarks.page import Table, write
from tests.benchmarks.work import run_jobs


def make_parser(package: str) -> argparse.ArgumentParser:
    """Returns a parser with the options of every table."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{package}", description="See the package.")
    parser.add_argument("--seeds", type=int, help="number of seeds")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="jobs at a time")
    parser.add_argument("--rows", help="only rows whose name contains this; prints figures, writes no page")
    parser.add_argument("--keep", type=Path, help="folder of outcomes: jobs with an outcome in it are not run again")
    parser.add_argument("--out", type=Path, help="the page")
    return parser


def fill(table: Table, chosen: argparse.Namespace, out: Path, command: str) -> None:
    """Runs the chosen jobs of a table, and writes its page if these are all jobs."""
    started = time.monotonic()
    jobs = [job for job in table.jobs if (chosen.rows or "") in job.row]
    outcomes = sorted(run_jobs(jobs, chosen.processes, chosen.keep), key=lambda outcome: outcome.seed)
    if chosen.rows is not None:
        return
    # Kept outcomes count with the time of the command that ran them.
    seconds = max(time.monotonic() - started, sum(outcome.seconds for outcome in outcomes) / chosen.processes)
    write(chosen.out or out, table, outcomes, command, seconds, chosen.processes)
    print(f"{seconds:.0f} s; wrote {chosen.out or out}")
