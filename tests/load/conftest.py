"""What the tests of load share: their table, and an MLflow server alone, which is all that most of them need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines import services as embedded
from pipelines.services import Services
from tests.load.table import carried

__all__ = ["carried"]


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """An MLflow server of the tests' own, to which the environment leads."""
    running = embedded.start(tmp_path_factory.mktemp("mlflow"), names=("mlflow",), limit_seconds=300)
    try:
        with embedded.exported(running):
            yield running
    finally:
        embedded.stop(running)
