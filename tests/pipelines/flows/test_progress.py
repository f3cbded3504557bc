"""How far a search is, from hand-made events: the table in the terminal, the time that is left, the bar in Prefect."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from typing import Any

import pytest
from rich.table import Table

from pipelines.cli.live import View, clock
from pipelines.cluster.runs import Event
from pipelines.flows import job_events
from pipelines.flows.search_progress import SearchProgress
from pipelines.stages.tune import SearchPlan
from tuning.frontier import Trial


def plan(**changes: int) -> Event:
    return Event(
        kind="search", fields=asdict(SearchPlan(**{"trials": 5, "at_once": 2, "epochs": 40, "lanes": 2, **changes}))
    )


def lane(
    name: str, status: str, epochs: int, bound: float | None = None, speed: float | None = None, **own: Any
) -> Event:
    """A lane that takes 10 steps in an epoch."""
    stack = name.partition(".")[0]
    parameters = {"model.encoder": f"mlp {stack[-1]}", **own}
    trial = Trial(name, parameters, status, epochs, None, None, bound, steps=10 * epochs, steps_per_second=speed)
    return Event(kind="trial", fields=asdict(trial))


EVENTS = (
    plan(),
    lane("ab12c_00000.0", "finished", 40, 90.0, 20.0, **{"objective.beta": 1}),
    lane("ab12c_00000.1", "failed", 7, 999.0, 5.0, **{"objective.beta": 2}),
    lane("ab12c_00001.0", "running", 10, 95.25, 4.0, **{"objective.beta": 1}),
    lane("ab12c_00001.1", "failed", 9, 300.0, 4.0, **{"objective.beta": 2}),
    lane("ab12c_00002.0", "running", 0, **{"objective.beta": 1}),
    lane("ab12c_00002.1", "running", 0, **{"objective.beta": 2}),
    lane("ab12c_00003", "failed", 0),
)


def seen(*events: Event) -> View:
    view = View("a search")
    for event in events:
        view.on_event("tune", event)
    return view


def cells(table: Table) -> list[list[Any]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_trial_table_has_a_row_for_each_stack() -> None:
    """Those that run come first; lanes that failed or finished are not alive; the best bound is the lowest of the lanes."""
    assert cells(seen(*EVENTS).trial_table()) == [
        ["00001", "encoder=mlp 1", "1/2", "10/40", "95.25", "4.0", "1:15", "running"],
        ["00002", "encoder=mlp 2", "2/2", "0/40", "", "", "", "running"],
        ["00003", "encoder=mlp 3", "0/1", "0/40", "", "", "", "failed"],
        ["00000", "encoder=mlp 0", "0/2", "40/40", "90.00", "20.0", "", "finished"],
    ]


def test_note_counts_trials_and_the_time_they_take() -> None:
    """One has 75 s left; the two that are not known are taken for (100 s + 20 s) / 2 each, and two run at once."""
    assert seen(*EVENTS).search_note() == "2 trials done, 2 running, 1 to come; about 1:38 left"
    assert seen(plan()).search_note() == "0 trials done, 0 running, 5 to come"


def test_last_trial_is_waited_for_to_its_end() -> None:
    """However many run at once, a search takes as long as the longest of its trials."""
    search = SearchProgress()
    for event in (plan(trials=1), lane("a", "running", 10, 95.0, 4.0)):
        search.take(event)
    assert search.seconds_left == 75.0


def test_share_is_of_all_epochs() -> None:
    """A trial that ended early has none left: two of five, and a quarter of one."""
    search = SearchProgress()
    assert search.share == 0
    for event in EVENTS:
        search.take(event)
    assert search.share == (2 + 10 / 40) / 5
    for number in range(5):
        search.take(lane(f"ab12c_0000{number}.0", "stopped", 11))
        search.take(lane(f"ab12c_0000{number}.1", "stopped", 11))
    assert search.share == 1


def test_clock_has_hours_where_there_are_some() -> None:
    """Seconds always have two digits."""
    assert [clock(seconds) for seconds in (4.6, 65, 7389.2)] == ["0:05", "1:05", "2:03:09"]


def test_bar_is_moved_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most once in two seconds, by the clock; the end is always told."""
    now, shown = [0.0], []
    monkeypatch.setattr(job_events.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(job_events, "create_progress_artifact", lambda percent, *_: shown.append(percent) or "id")
    monkeypatch.setattr(job_events, "update_progress_artifact", lambda _, percent: shown.append(percent))
    bar = job_events.ProgressBar("a search")
    for seconds, event in zip((0.5, 1.9, 2.0, 2.1, 3.9, 4.1, 4.2, 4.3), EVENTS, strict=True):
        now[0] = seconds
        bar.on_event(event)
    bar.show(100.0)
    assert shown == pytest.approx([0, 20, 100 * (1 + 10 / 40) / 5, 100])


def test_bar_that_prefect_refuses_complains_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The search goes on, and the artifact is tried again."""
    answers: list[Any] = [OSError("no route"), OSError("no route"), "id"]

    def create(*_: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(job_events, "create_progress_artifact", create)
    monkeypatch.setattr(job_events, "get_run_logger", lambda: logging.getLogger("a run"))
    monkeypatch.setattr(job_events, "PROGRESS_SECONDS", -math.inf)
    bar = job_events.ProgressBar("a search")
    for event in EVENTS[:2]:
        bar.on_event(event)
    assert [record.getMessage() for record in caplog.records] == [
        "Prefect refused the progress of the search: no route"
    ]
    assert bar.artifact == "id"
