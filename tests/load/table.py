"""The table of load: how much was asked for at once, and what came of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tables import Table

TABLE = Table(name="load", title="Load", says="Each line stands for a test that passed.", header=("what", "measured"))

Carried = Callable[[str, str], None]
"""What a test calls when it has seen all that it claims: what was asked for, and what was measured."""


@pytest.fixture
def carried(record_property: Callable[[str, object], None]) -> Carried:
    """Enters what this test measured into the table of load."""
    return lambda what, measured: TABLE.enter(record_property, what, measured)
