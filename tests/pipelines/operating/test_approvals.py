"""Decisions of a person, without a server: which promotion is meant, and why one does not wait."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Running, Suspended

from pipelines.operating import approvals
from vae.errors import RegistryError

WORDS = "**digits** version 3 is not `champion`: nll_is200 81.000 nats is no better than the champion's 80.000."


def promotion(name: str, run: str, state: State[Any]) -> FlowRun:
    request = {"run": run, "name": "digits"}
    return FlowRun(
        id=UUID(int=len(name)), flow_id=UUID(int=0), name=name, parameters={"request": request}, state=state,
        state_name=state.name, state_type=state.type,
    )  # fmt: skip


RUNS = [
    promotion("red-owl", "train-1", Completed()),
    promotion("grey-goose", "train-2", Running()),
    promotion("blue-fox-one", "train-3", Suspended()),
    promotion("blue-fox-other", "train-3", Suspended()),
]


class Server:
    """Flow runs and artifacts as a Prefect server tells them."""

    def read_flow_runs(self, flow_filter: Any, flow_run_filter: Any = None, sort: Any = None) -> list[FlowRun]:
        return [run for run in RUNS if flow_run_filter is None or run.state_type in flow_run_filter.state.type.any_]

    def read_artifacts(self, artifact_filter: Any) -> list[Any]:
        return [SimpleNamespace(data=WORDS)] if artifact_filter.flow_run_id.any_ == [RUNS[0].id] else []


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "red-owl",
            "no flow run waits for a person as 'red-owl': red-owl is completed: digits version 3 is not champion: "
            "nll_is200 81.000 nats is no better than the champion's 80.000.",
        ),
        ("train-2", "no flow run waits for a person as 'train-2': grey-goose is running"),
        (
            "absent",
            "no flow run waits for a person as 'absent': there is no such promotion; waiting: blue-fox-one (digits from "
            "run train-3); blue-fox-other (digits from run train-3)",
        ),
        (
            "train-3",
            "2 flow runs wait for a person as 'train-3'; name one: blue-fox-one (digits from run train-3); "
            "blue-fox-other (digits from run train-3)",
        ),
    ],
)
def test_promotion_that_does_not_wait_says_why(reference: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the gate refused says so with the gate's words, one that is going on, none, and one of two."""
    monkeypatch.setattr(approvals, "get_client", lambda sync_client: nullcontext(Server()))
    with pytest.raises(RegistryError) as error:
        approvals.answer(reference, approve=True, by="Ada")
    assert str(error.value) == message
