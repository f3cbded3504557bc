"""Command line of the package."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.page import RESULTS, write
from tests.benchmarks.tables import marginals, reading
from tests.benchmarks.work import run_jobs

PARTS = {"marginals": marginals}
"""Parts that train: modules with a function `table`, from an empty folder to the table to fill in."""


def main() -> None:
    """Runs a part, and writes its page."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tables", description="See the package.")
    parser.add_argument("--part", choices=(*PARTS, "reading"), required=True)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--into", type=Path, default=RESULTS, help="a folder for the page")
    chosen = parser.parse_args()
    page = chosen.into / f"tables-{chosen.part}.md"
    if chosen.part == "reading":
        reading.write_page(page)
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        table = PARTS[chosen.part].table(Path(home))
        outcomes = sorted(run_jobs(table.jobs, chosen.processes), key=lambda outcome: outcome.seed)
    command = " ".join(["python -m tests.benchmarks.tables", *sys.argv[1:]])
    write(page, table, outcomes, command, time.monotonic() - started, chosen.processes)
    print(f"{time.monotonic() - started:.0f} s; wrote {page}")


if __name__ == "__main__":
    main()
