"""The page that the table of faults is written to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from tests.benchmarks.reproduce.page import grid, machine
from tests.faults.table import HEADER, ROWS, Measurement, cells


def page(found: Sequence[Measurement]) -> str:
    """The table in Markdown, with a line for each row that did not run."""
    lines = []
    for row in ROWS:
        measured = [cells(measurement) for measurement in found if measurement.row == row]
        lines += measured or [(row, "", "", "did not run")]
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "prefect", "mlflow"))
    parts = [
        "# Faults, and what was lost by them",
        f"`python -m tests.faults`, {datetime.now(UTC):%Y-%m-%d}. Real processes; a line stands here if its test passed.",
        grid(HEADER, lines),
        f"{machine()[:-1]}, {versions}.",
    ]
    return "\n\n".join(parts) + "\n"
