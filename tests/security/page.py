"""The page that the table of security is written to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from tests.benchmarks.reproduce.page import grid, machine
from tests.security.table import HEADER


def page(found: Sequence[tuple[str, str, str]]) -> str:
    """The table in Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "prefect", "mlflow", "pyarrow", "pillow"))
    parts = [
        "# What strangers ask for, and what they get",
        f"`python -m tests.security`, {datetime.now(UTC):%Y-%m-%d}. Each line stands for a test that passed.",
        grid(HEADER, [tuple(cell.replace("|", "\\|") for cell in line) for line in found]),
        f"{machine()[:-1]}, {versions}.",
    ]
    return "\n\n".join(parts) + "\n"
