"""Events on Prefect's event bus that can start a deployment's runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # the command line lists the triggers, and Prefect takes a second to import
    from prefect.events import DeploymentEventTrigger


@dataclass(frozen=True)
class Trigger:
    """A kind of event and the resource that it is about."""

    name: str
    """Value of `betaline schedule --on`."""
    event: str
    """Name of the event."""
    about: Literal["dataset", "model"]
    """Kind of the resource: a dataset's name, or a registered model."""
    summary: str
    """Phrase for the help of the command line."""

    def emit(self, name: str, facts: Mapping[str, Any]) -> None:
        """Sends the event about a dataset or a model of this name."""
        from prefect.events import emit_event

        emit_event(self.event, {"prefect.resource.id": self._resource(name)}, payload=dict(facts))

    def of(self, name: str) -> DeploymentEventTrigger:
        """Returns the trigger that starts one run for each event about a dataset or a model of this name."""
        from prefect.events import DeploymentEventTrigger

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
        Trigger("data", "betaline.dataset.ready", about="dataset", summary="a new version of the dataset"),
        Trigger("drift", "betaline.drift.found", about="model", summary="drift of the model"),
    )
}
"""Triggers by name: new data under a dataset's name; fresh data that has drifted from a registered model's."""
