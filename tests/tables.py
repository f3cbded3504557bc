"""Tables of what tests saw: printed when all have run, and written as pages where that is asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

RESULTS = Path(__file__).parent / "benchmarks" / "results"

Line = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, and the plugin of pytest that collects its lines: tests of one process or of several enter them."""

    name: str
    """Of the package of tests whose `python -m` writes the page, and of the page."""
    title: str
    says: str
    """Below the title: what the lines are."""
    header: Line
    rows: Line = ()
    """What stands in the first column, where it is known before: their order, and what is missed if no test enters it."""
    packages: Line = ("ray", "prefect", "mlflow")
    """Whose versions the page tells."""

    @property
    def file(self) -> Path:
        """The page."""
        return RESULTS / f"{self.name}.md"

    def enter(self, record_property: Callable[[str, object], None], *line: str) -> None:
        """Enters a line, which stands if its test passes."""
        assert len(line) == len(self.header), line
        assert not self.rows or line[0] in self.rows, f"{line[0]!r} is no row of the table"
        record_property(self.name, list(line))

    def lines(self, reports: Iterable[pytest.TestReport]) -> list[Line]:
        """Those of tests that passed, in order."""
        found = [tuple(line) for report in reports for name, line in report.user_properties if name == self.name]
        return sorted(found, key=lambda line: self.rows.index(line[0]) if self.rows else line[0])

    def page(self, lines: Sequence[Line]) -> str:
        """The table in Markdown, with a line for each row that is missed."""
        # What it needs is slow to import.
        from tests.benchmarks.page import grid, machine

        entered = {line[0] for line in lines}
        missed = [(row, *[""] * (len(self.header) - 2), "did not run") for row in self.rows if row not in entered]
        all_lines = sorted([*lines, *missed], key=lambda line: self.rows.index(line[0])) if self.rows else lines
        parts = [
            f"# {self.title}",
            f"`python -m tests.{self.name}`, {datetime.now(UTC):%Y-%m-%d}. {self.says}",
            grid(self.header, [tuple(cell.replace("|", "\\|") for cell in line) for line in all_lines]),
            f"{machine()[:-1]}, {', '.join(f'{name} {version(name)}' for name in self.packages)}.",
        ]
        return "\n\n".join(parts) + "\n"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Prints the lines, if there are any, and writes the page, if it is asked for."""
        found = self.lines(terminalreporter.stats.get("passed", []))
        if found:
            terminalreporter.section(self.name)
            for line in aligned([self.header, *found]):
                terminalreporter.write_line(line)
        if config.getoption("--page") == self.name:
            self.file.write_text(self.page(found))
            terminalreporter.write_line(f"wrote {self.file}")


def aligned(lines: Sequence[Line]) -> list[str]:
    """Lines of text with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def main(table: Table, *folders: str) -> None:
    """Runs every test of some folders of tests, slow or not, and writes the page; `sys.argv` has more for pytest."""
    paths = [str(Path(__file__).parent / folder) for folder in folders]
    sys.exit(pytest.main([*paths, "-m", "slow or not slow", "--page", table.name, *sys.argv[1:]]))
