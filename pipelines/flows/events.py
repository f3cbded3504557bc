"""What betaline tells Prefect's event bus, and what may be started by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from prefect.events import DeploymentEventTrigger, emit_event

Occasion = Literal["data", "drift"]
"""New data in a dataset's name; a registered model whose fresh data has drifted."""
DATASET_READY, DRIFT_FOUND = "betaline.dataset.ready", "betaline.drift.found"


def dataset_ready(name: str, facts: Mapping[str, Any]) -> None:
    """Tells that a dataset of this name is there that was not before."""
    emit_event(DATASET_READY, {"prefect.resource.id": _dataset(name)}, payload=dict(facts))


def drift_found(name: str, facts: Mapping[str, Any]) -> None:
    """Tells that a registered model's fresh data is not what it was trained on."""
    emit_event(DRIFT_FOUND, {"prefect.resource.id": _model(name)}, payload=dict(facts))


def trigger(occasion: Occasion, name: str) -> DeploymentEventTrigger:
    """What starts a deployment's runs: one run for each event.

    Args:
        occasion: Which kind.
        name: Of the dataset or the registered model.
    """
    expected, resource = {
        "data": (DATASET_READY, _dataset(name)),
        "drift": (DRIFT_FOUND, _model(name)),
    }[occasion]
    return DeploymentEventTrigger(
        expect={expected}, match={"prefect.resource.id": resource}, description=f"on {occasion} of {name}"
    )


def _dataset(name: str) -> str:
    return f"betaline.dataset.{name}"


def _model(name: str) -> str:
    return f"betaline.model.{name}"
