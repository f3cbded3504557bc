"""Command line of the package."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.command import fill, make_parser
from tests.benchmarks.page import RESULTS
from tests.benchmarks.reproduce import disentanglement, imputation, nll
from tests.benchmarks.work import BUDGET_NAMES

TABLES = {"nll": nll.table, "disentanglement": disentanglement.table, "imputation": imputation.table}


def main() -> None:
    """Runs a table and writes its page, tests/benchmarks/results/TABLE-BUDGET.md unless --out names another."""
    parser = make_parser("reproduce")
    parser.add_argument("--table", choices=TABLES, required=True)
    parser.add_argument("--budget", choices=BUDGET_NAMES, default="smoke")
    chosen = parser.parse_args()
    seeds = f" --seeds {chosen.seeds}" if chosen.seeds else ""
    command = f"python -m tests.benchmarks.reproduce --table {chosen.table} --budget {chosen.budget}{seeds}"
    with tempfile.TemporaryDirectory() as home:
        table = TABLES[chosen.table](chosen.budget, Path(home), chosen.seeds)
        if chosen.budget == "smoke":
            table = replace(table, claims=lambda outcomes: ())
        out = RESULTS / f"{chosen.table}-{chosen.budget}.md"
        fill(table, chosen, out, f"{command} --processes {chosen.processes}")


if __name__ == "__main__":
    main()
