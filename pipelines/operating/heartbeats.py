"""Detection of flow runs whose process died silently, for example with its machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import get_current_settings

AUTOMATION = "betaline-silent-runs"
"""Name of the automation on Prefect's server."""
MISSED = 3
"""Number of heartbeats that may be missed, because Prefect's server or the network was away."""
ENDED = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")


def watch(client: SyncPrefectClient, flows: Sequence[str]) -> None:
    """Makes the server mark runs of these flows as crashed when their heartbeats stop or never come.

    By default Prefect shows such runs as running for ever, and keeps the next run of their deployment from starting.
    Heartbeats come every PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds, which must be the same here and on the workers. A run
    that was silent and is alive completes as usual.
    """
    seconds = get_current_settings().flows.heartbeat_frequency
    if seconds is None:
        return
    heartbeat = "prefect.flow-run.heartbeat"
    wanted = AutomationCore(
        name=AUTOMATION,
        description=f"Marks flow runs as crashed after {MISSED} missed heartbeats; one is due every {seconds} s.",
        trigger=EventTrigger(
            after={heartbeat, "prefect.flow-run.Running"},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in ENDED)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": list(flows)}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=MISSED * seconds),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message=f"no heartbeat for {MISSED * seconds} s: its process has died; a retry attaches to its job",
                force=False,
            )
        ],
    )
    existing = client.read_automations_by_name(AUTOMATION)
    if not existing:
        client.create_automation(wanted)
    elif existing[0].trigger != wanted.trigger:
        client.update_automation(existing[0].id, wanted)
