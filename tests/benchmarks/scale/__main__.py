"""Command line of the package."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.command import fill, make_parser
from tests.benchmarks.page import RESULTS
from tests.benchmarks.scale import network, rows, workers

PARTS = {"workers": workers.table, "network": network.table, "rows": rows.table}
"""Parts: functions from an empty folder and the number of seeds to the table to fill in."""


def main() -> None:
    """Runs a part, and writes its page, tests/benchmarks/results/scale-PART.md unless --out names another."""
    parser = make_parser("scale")
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument(
        "--home", type=Path, help="folder of data that outlives the command, for jobs of several commands"
    )
    parser.set_defaults(processes=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        table = PARTS[chosen.part](chosen.home or Path(temporary), chosen.seeds)
        fill(
            table, chosen, RESULTS / f"scale-{chosen.part}.md", f"python -m tests.benchmarks.scale --part {chosen.part}"
        )


if __name__ == "__main__":
    main()
