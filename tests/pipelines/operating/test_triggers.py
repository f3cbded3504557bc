"""Events that start flows: the resource that each is about, and the options that name them."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from prefect import events

from pipelines.cli import operating
from pipelines.operating.triggers import TRIGGERS


@pytest.mark.parametrize("name", TRIGGERS)
def test_emitted_event_starts_the_runs_that_wait_for_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event and the resource that are sent are those that the deployment's trigger matches."""
    sent: list[Any] = []
    monkeypatch.setattr(events, "emit_event", lambda event, resource, payload: sent.append((event, resource, payload)))
    TRIGGERS[name].emit("digits", {"rows": 3})
    waiting: Any = TRIGGERS[name].of("digits")
    assert sent == [(*waiting.expect, waiting.match.root, {"rows": 3})]
    assert waiting.description == f"on {name} of digits"


def test_command_offers_every_trigger() -> None:
    """`betaline schedule --on` takes the names of `TRIGGERS`, and no others."""
    option, _ = get_args(get_type_hints(operating.schedule)["on"])
    assert set(get_args(option)) == set(TRIGGERS)
