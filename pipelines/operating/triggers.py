"""Events on Prefect's event bus that can start a deployment's runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prefect.events import DeploymentEventTrigger, emit_event


@dataclass(frozen=True)
class Trigger:
    """A kind of event and the resource that it is about."""

    name: str
    """Value of `betaline schedule --on`."""
    event: str
    """Name of the event."""
    about: Literal["dataset", "model"]
    """Kind of the resource: a dataset's name, or a registered model."""

    def emit(self, name: str, facts: Mapping[str, Any]) -> None:
        """Sends the event about a dataset or a model of this name."""
        emit_event(self.event, {"prefect.resource.id": self._resource(name)}, payload=dict(facts))

    def of(self, name: str) -> DeploymentEventTrigger:
        """Returns the trigger that starts one run for each event about a dataset or a model of this name."""
        return DeploymentEventTrigger(
            expect={self.event},
            match={"prefect.resource.id": self._resource(name)},
            description=f"on {self.name} of {name}",
        )

    def _resource(self, name: str) -> str:
        return f"betaline.{self.about}.{name}"


TRIGGERS = {
    trigger.name: trigger
    for trigger in (
        Trigger("data", "betaline.dataset.ready", about="dataset"),
        Trigger("drift", "betaline.drift.found", about="model"),
    )
}
"""Triggers by name: new data under a dataset's name; fresh data that has drifted from a registered model's."""
