"""What the tests of flows share: a dataset ingested for real, and a model that trains in seconds."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.services import Services
from pipelines.sources import IngestConfig
from vae.config import MLP, ModelConfig, RunConfig, TrainingConfig


def run_flow(flow: Any, *arguments: Any, listener: Any = None, **named: Any) -> Any:
    """Runs a flow in this process, as the command does."""
    from prefect.context import refresh_global_settings_context

    from pipelines import flows

    refresh_global_settings_context()  # or another test's environment decides which server is asked
    with flows.session(listener or (lambda kind, event: None)):
        return flow(*arguments, **named)


@pytest.fixture(scope="session")
def digits(services: Services) -> dict[str, Any]:
    """What the ingest flow returned for scikit-learn's digits."""
    from pipelines import flows

    return run_flow(flows.ingest, IngestConfig(source="sklearn:digits", name="digits"))


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    """A model of 8x8 digits that trains for 3 epochs."""
    return RunConfig(
        model=ModelConfig(latent_dim=3, encoder=MLP(hidden=(32,))),
        training=TrainingConfig(epochs=3, batch_size=64),
    )
