"""The table of faults: what a test did to a running system, and what was lost by it.

A plugin of pytest, so that tests of faults may live in any folder: each says what it measured through the fixture
`measured`, and the table is printed when all have run, in one process or in several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import pytest

ROWS = (
    "SIGKILL of a training worker mid-epoch",
    "a node removed from a 2-node cluster",
    "a link between 2 nodes cut, and joined again",
    "SIGKILL of the job's driver, same command again",
    "SIGSTOP of a worker",
    "killed while a checkpoint is being written",
    "a byte flipped in a checkpoint",
    "a Parquet shard truncated or flipped",
    "disk full (small tmpfs)",
    "MLflow down or stopped for 60 s",
    "PostgreSQL `stop -m immediate` under Prefect and MLflow",
    "the Ray head killed",
    "two identical ingests at once",
    "two schedulers",
    "killed between registering and moving the alias",
    "a flow run cancelled",
)
"""The faults that must be survived, in the order of the table."""

HEADER = ("fault", "noticed after", "done again", "kept")
PROPERTY = "fault"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one test of a fault found."""

    row: str
    noticed_seconds: float | None
    redone: str
    kept: str


class Measured(Protocol):
    """What a test calls when it has seen all that it claims."""

    def __call__(self, row: str, *, noticed_seconds: float | None = None, redone: str = "", kept: str) -> None:
        """Enters a line into the table of faults.

        Args:
            row: The fault, one of `ROWS`.
            noticed_seconds: From the fault until the system acted on it.
            redone: What had to be done twice, such as "7 of 40 steps".
            kept: What is as if nothing had been, such as "weights bit-equal".
        """
        ...


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Enters what this test measured into the table of faults."""

    def enter(row: str, *, noticed_seconds: float | None = None, redone: str = "", kept: str) -> None:
        assert row in ROWS, f"{row!r} is no row of the table"
        found = Measurement(row=row, noticed_seconds=noticed_seconds, redone=redone, kept=kept)
        record_property(PROPERTY, asdict(found))

    return enter


def measurements(reports: Iterable[pytest.TestReport]) -> list[Measurement]:
    """What passed tests measured, in the order of `ROWS`."""
    properties = [entry for report in reports for entry in report.user_properties]
    found = [Measurement(**value) for name, value in properties if name == PROPERTY and isinstance(value, dict)]
    return sorted(found, key=lambda measurement: ROWS.index(measurement.row))


def cells(measurement: Measurement) -> tuple[str, str, str, str]:
    """A line of the table."""
    seconds = measurement.noticed_seconds
    noticed = "" if seconds is None else f"{seconds:.1f} s"
    return measurement.row, noticed, measurement.redone, measurement.kept


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the table is written to as a page."""
    parser.addoption("--faults-page", type=Path, metavar="FILE", help="write the table of faults to this Markdown file")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the rows that ran, where there are any."""
    found = measurements(terminalreporter.stats.get("passed", []))
    if found:
        terminalreporter.section("faults")
        for line in aligned([HEADER, *map(cells, found)]):
            terminalreporter.write_line(line)
    file = config.getoption("--faults-page")
    if file:
        from tests.faults.page import page  # what it needs is slow to import

        file.write_text(page(found))
        terminalreporter.write_line(f"wrote {file}")


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
