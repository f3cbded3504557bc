"""Runs every test of load, and writes what was measured: `python -m tests.load [arguments of pytest]`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.benchmarks.reproduce.page import grid, machine

HERE = Path(__file__).parent
PAGE = HERE.parent / "benchmarks" / "results" / "load.md"


class Collector:
    """What passed tests have recorded as `load`."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.lines += [tuple(value) for name, value in report.user_properties if name == "load"]


def page(lines: list[tuple[str, str]]) -> str:
    """The figures in Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "prefect", "mlflow"))
    parts = [
        "# Load",
        f"`python -m tests.load`, {datetime.now(UTC):%Y-%m-%d}. Each line stands for a test that passed.",
        grid(("what", "measured"), lines),
        f"{machine()[:-1]}, {versions}.",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    collector = Collector()
    status = pytest.main([str(HERE), "-m", "slow or not slow", *sys.argv[1:]], plugins=[collector])
    PAGE.write_text(page(collector.lines))
    sys.exit(status)
