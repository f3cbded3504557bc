"""Command line of the package."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.command import fill, make_parser
from tests.benchmarks.page import RESULTS
from tests.benchmarks.tables import imputation, marginals, reading, size, synthesis

PARTS = {"imputation": imputation.table, "marginals": marginals.table, "size": size.table, "synthesis": synthesis.table}
"""Parts with jobs: functions from an empty folder and the number of seeds to the table to fill in."""


def main() -> None:
    """Runs a part, and writes its page, tests/benchmarks/results/tables-PART.md unless --out names another."""
    parser = make_parser("tables")
    parser.add_argument("--part", choices=(*PARTS, "reading"), required=True)
    chosen = parser.parse_args()
    page = RESULTS / f"tables-{chosen.part}.md"
    if chosen.part == "reading":
        reading.write_page(chosen.out or page)
        return
    with tempfile.TemporaryDirectory() as home:
        table = PARTS[chosen.part](Path(home), chosen.seeds)
        fill(
            table,
            chosen,
            page,
            f"python -m tests.benchmarks.tables --part {chosen.part} --processes {chosen.processes}",
        )


if __name__ == "__main__":
    main()
