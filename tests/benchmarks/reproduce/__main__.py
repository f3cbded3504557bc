"""See the package."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.page import write
from tests.benchmarks.reproduce import disentanglement, imputation, nll
from tests.benchmarks.work import BUDGET_NAMES, run_jobs

RESULTS = Path(__file__).resolve().parents[1] / "results"
TABLES = {"nll": nll.table, "disentanglement": disentanglement.table, "imputation": imputation.table}


def main() -> None:
    """Runs a table and writes its page."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reproduce", description="See the package.")
    parser.add_argument("--table", choices=TABLES, required=True)
    parser.add_argument("--budget", choices=BUDGET_NAMES, default="smoke")
    parser.add_argument("--seeds", type=int, help="how many; each budget has its own number")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rows", help="only rows whose name has this in it; the page is printed and not written")
    parser.add_argument("--keep", type=Path, help="a folder of outcomes: jobs whose outcome is in it are not run again")
    parser.add_argument("--out", type=Path, help="the page; default tests/benchmarks/results/TABLE-BUDGET.md")
    chosen = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        table = TABLES[chosen.table](chosen.budget, Path(home), chosen.seeds)
        if chosen.budget == "smoke":
            table = replace(table, claims=lambda outcomes: ())
        jobs = [job for job in table.jobs if chosen.rows is None or chosen.rows in job.row]
        outcomes = run_jobs(jobs, chosen.processes, chosen.keep)
    outcomes.sort(key=lambda outcome: outcome.seed)
    if chosen.rows is not None:
        return
    out = chosen.out or RESULTS / f"{chosen.table}-{chosen.budget}.md"
    seeds = f" --seeds {chosen.seeds}" if chosen.seeds else ""
    command = f"python -m tests.benchmarks.reproduce --table {chosen.table} --budget {chosen.budget}{seeds}"
    command += f" --processes {chosen.processes}"
    # Of kept outcomes the time of the command that ran them counts.
    seconds = max(time.monotonic() - started, sum(outcome.seconds for outcome in outcomes) / chosen.processes)
    write(out, table, outcomes, command, seconds, chosen.processes)
    print(f"{seconds:.0f} s; wrote {out}")


if __name__ == "__main__":
    main()
