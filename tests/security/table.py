"""The table of security: what a stranger, or a file from one, asked for, and what came of it.

A plugin of pytest: a test says what it saw through the fixture `answered`, and the table is printed when all have run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import pytest

from tests.faults.table import aligned

HEADER = ("at", "asked", "answer")
PROPERTY = "security"


class Answered(Protocol):
    """What a test calls when it has seen all that it claims."""

    def __call__(self, at: str, asked: str, answer: object) -> None:
        """Enters a line into the table of security.

        Args:
            at: Whom: a listener, a reader of files, a command.
            asked: What was tried.
            answer: What came of it, such as 401, or the first words of the refusal.
        """
        ...


@pytest.fixture
def answered(record_property: Callable[[str, object], None]) -> Answered:
    """Enters what this test saw into the table of security."""

    def enter(at: str, asked: str, answer: object) -> None:
        record_property(PROPERTY, [at, asked, str(answer)])

    return enter


def answers(reports: Iterable[pytest.TestReport]) -> list[tuple[str, str, str]]:
    """What passed tests saw, by whom they asked."""
    properties = [entry for report in reports for entry in report.user_properties]
    found = [value for name, value in properties if name == PROPERTY and isinstance(value, list)]
    return sorted(((at, asked, answer) for at, asked, answer in found), key=lambda line: line[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the table is written to as a page."""
    parser.addoption("--security-page", type=Path, metavar="FILE", help="write the table of security to this file")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints what was asked, where anything was."""
    found = answers(terminalreporter.stats.get("passed", []))
    if found:
        terminalreporter.section("security")
        for line in aligned([HEADER, *found]):
            terminalreporter.write_line(line)
    file = config.getoption("--security-page")
    if file:
        from tests.security.page import page  # what it needs is slow to import

        file.write_text(page(found))
        terminalreporter.write_line(f"wrote {file}")
