"""The table of security: what a stranger, or a file from one, asked for, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import shorten
from typing import Protocol

import pytest

from tests.tables import Table

TABLE = Table(
    name="security",
    title="What strangers ask for, and what they get",
    says="Each line stands for a test that passed.",
    header=("at", "asked", "answer"),
    packages=("ray", "prefect", "mlflow", "pyarrow", "pillow"),
)
MOST_CHARACTERS = 120
"""Of an answer."""


class Answered(Protocol):
    """The function by which a test enters a line once it has seen all that it claims."""

    def __call__(self, at: str, asked: str, answer: object) -> None:
        """Enters a line into the table of security.

        Args:
            at: Whom: a listener, a reader of files, a command.
            asked: What was tried.
            answer: What came of it, such as 401, or the words of the refusal.
        """
        ...


@pytest.fixture
def answered(record_property: Callable[[str, object], None], tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """Enters what this test saw into the table of security; of an answer the first words, without the test's own folder."""
    own_folder = re.compile(rf"{re.escape(str(tmp_path_factory.getbasetemp()))}/[^/\s]+/?")

    def enter(at: str, asked: str, answer: object) -> None:
        TABLE.enter(
            record_property, at, asked, shorten(own_folder.sub("", str(answer)), MOST_CHARACTERS, placeholder=" …")
        )

    return enter
