"""Flow runs whose process has died without a word, as with its machine: Prefect marks them as crashed, being silent."""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import get_current_settings

from pipelines.flows import stages as flows

AUTOMATION = "betaline-silent-runs"
MISSED = 3
"""So many heartbeats may be missed: Prefect's server, or the way to it, may have been away."""
ENDED = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")


def watch(client: SyncPrefectClient) -> None:
    """Has the server mark runs of betaline's flows as crashed whose heartbeats have ended, or never came. Prefect's own
    default is to show them as running for ever, and to let them keep the next run of their deployment from starting.

    Heartbeats come every PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds, which has to be the same here and where workers run. A
    run that was silent and lives after all completes as if nothing had been.
    """
    seconds = get_current_settings().flows.heartbeat_frequency
    if seconds is None:
        return
    heartbeat = "prefect.flow-run.heartbeat"
    wanted = AutomationCore(
        name=AUTOMATION,
        description=f"Marks flow runs as crashed after {MISSED} heartbeats, one every {seconds} s, did not come.",
        trigger=EventTrigger(
            after={heartbeat, "prefect.flow-run.Running"},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in ENDED)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": [flow.name for flow in flows.FLOWS]}
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
    there = client.read_automations_by_name(AUTOMATION)
    if there:
        client.update_automation(there[0].id, wanted)
    else:
        client.create_automation(wanted)
