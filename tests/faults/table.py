"""The table of faults: what a test did to a running system, and what was lost by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from tests.tables import Table

TABLE = Table(
    name="faults",
    title="Faults, and what was lost by them",
    says="Real processes; a line stands here if its test passed.",
    header=("fault", "noticed after", "done again", "kept"),
    rows=(
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
    ),
)


class Measured(Protocol):
    """What a test calls when it has seen all that it claims."""

    def __call__(self, row: str, *, noticed_seconds: float | None = None, redone: str = "", kept: str) -> None:
        """Enters a line into the table of faults.

        Args:
            row: The fault, one of `TABLE.rows`.
            noticed_seconds: From the fault until the system acted on it.
            redone: What had to be done twice, such as "7 of 40 steps".
            kept: What is as if nothing had been, such as "weights bit-equal".
        """
        ...


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Enters what this test measured into the table of faults."""

    def enter(row: str, *, noticed_seconds: float | None = None, redone: str = "", kept: str) -> None:
        noticed = "" if noticed_seconds is None else f"{noticed_seconds:.1f} s"
        TABLE.enter(record_property, row, noticed, redone, kept)

    return enter
