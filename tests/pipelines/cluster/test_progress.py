"""How far a stage is, by hand-made reports and a clock of the test's own: words, the view, the artifact in Prefect."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from typing import Any

import pytest
from rich.table import Table

from pipelines.cli import live
from pipelines.cli.live import View
from pipelines.cluster.progress import WINDOW_SECONDS, Meter, amount, clock
from pipelines.cluster.runs import Event
from pipelines.cluster.search_progress import SearchProgress
from pipelines.flows import job_events
from tuning.frontier import Trial
from vae.progress import Progress, counted, listening, report


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def metered(*reports: tuple[float, float], total: float | None = 1000, unit: str = "files") -> tuple[Clock, Meter]:
    """A meter after reports of (seconds since its start, units done)."""
    now = Clock()
    meter = Meter(now)
    for seconds, done in reports:
        now.seconds = 100.0 + seconds
        meter.take(Progress(part="hashing", done=done, total=total, unit=unit))
    return now, meter


def test_speed_is_that_of_the_last_half_minute() -> None:
    """A part that became faster, or that was resumed with half of its work done, is measured by what it does now."""
    _, meter = metered((0, 0), (10, 10), (20, 20), *((20 + t, 20 + 10 * t) for t in range(1, 41)))
    assert meter.rate == pytest.approx(10, rel=0.05)
    _, resumed = metered((0, 500), (10, 520))
    assert resumed.rate == 2
    assert resumed.seconds_left == 240
    assert WINDOW_SECONDS == 30


def test_time_left_counts_down_between_reports_and_ends_when_it_is_exceeded() -> None:
    """Four of ten files in 8 s leave 12 s; 5 s later 7 s; and after more than that nobody knows."""
    now, meter = metered((0, 0), (8, 4), total=10)
    assert meter.words() == "hashing: 4 of 10 files, 0.5 files/s, 0:12 left"
    now.seconds += 5
    assert meter.words() == "hashing: 4 of 10 files, 0.5 files/s, 0:07 left"
    now.seconds += 9
    assert meter.words() == "hashing: 4 of 10 files, 0.5 files/s, last report 0:14 ago"


def test_new_part_is_measured_anew() -> None:
    """The speed of one part says nothing of the next; neither does a part that begins again."""
    now, meter = metered((0, 0), (8, 4), total=10)
    meter.take(Progress(part="packing"))
    assert (meter.rate, meter.share, meter.words()) == (None, None, "packing")
    now.seconds += 65
    assert meter.words() == "packing, for 1:05"
    meter.take(Progress(part="packing", note="2 of them"))
    assert meter.words() == "packing, for 1:05, 2 of them"
    _, again = metered((0, 0), (8, 4), (9, 0))
    assert again.rate is None


def test_amounts_are_read_at_a_glance() -> None:
    """Bytes get a prefix, thousands a comma, and a count without a total is a count."""
    texts = [amount(number, unit) for number, unit in ((1234, "rows"), (0.52, "epochs"), (12_340_000, "bytes"))]
    assert texts == ["1,234 rows", "0.5 epochs", "12.3 MB"]
    assert metered((0, 0), (2, 3e9), total=6e9, unit="bytes")[1].words() == "hashing: 3 GB of 6 GB, 1.5 GB/s, 0:02 left"
    assert metered((0, 3), total=None)[1].words() == "hashing: 3 files"


def test_clock_has_hours_where_there_are_some() -> None:
    """Seconds always have two digits."""
    assert [clock(seconds) for seconds in (4.6, 65, 7389.2)] == ["0:05", "1:05", "2:03:09"]


def test_reports_are_thinned_but_for_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand items in no time two reports are passed on; without a listener, none."""
    monkeypatch.setattr("vae.progress.time.monotonic", lambda: 0.0)
    seen: list[Progress] = []
    with listening(seen.append):
        assert sum(counted(range(1000), "adding", 1000, "numbers")) == 499_500
        report("resting")
    assert [(one.part, one.done) for one in seen] == [("adding", 0), ("adding", 1000), ("resting", 0)]
    report("nobody listens")
    assert len(seen) == 3


# --- searches -------------------------------------------------------------------------------------------------------


def lane(
    name: str, status: str, epochs: int, bound: float | None = None, speed: float | None = None, **own: Any
) -> Trial:
    """A lane that takes 10 steps in an epoch."""
    parameters = {"model.encoder": f"mlp {name.partition('.')[0][-1]}", **own}
    return Trial(name, parameters, status, epochs, None, None, bound, steps=10 * epochs, steps_per_second=speed)


LANES = (
    lane("ab12c_00000.0", "finished", 40, 90.0, 20.0, **{"objective.beta": 1}),
    lane("ab12c_00000.1", "failed", 7, 999.0, 5.0, **{"objective.beta": 2}),
    lane("ab12c_00001.0", "running", 10, 95.25, 4.0, **{"objective.beta": 1}),
    lane("ab12c_00001.1", "failed", 9, 300.0, 4.0, **{"objective.beta": 2}),
    lane("ab12c_00002.0", "running", 0, **{"objective.beta": 1}),
    lane("ab12c_00002.1", "running", 0, **{"objective.beta": 2}),
    lane("ab12c_00003", "failed", 0),
)


def cells(table: Table) -> list[list[Any]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_trial_table_has_a_row_for_each_stack() -> None:
    """Those that run come first; lanes that failed or finished are not alive; the best bound is the lowest of the lanes."""
    view = View("a search")
    for one in LANES:
        view.on_event("tune", Event(kind="trial", fields={**asdict(one), "planned_epochs": 40}))
    assert cells(view.trial_table()) == [
        ["00001", "encoder=mlp 1", "1/2", "10/40", "95.25", "4.0", "running"],
        ["00002", "encoder=mlp 2", "2/2", "0/40", "", "", "running"],
        ["00003", "encoder=mlp 3", "0/1", "0/40", "", "", "failed"],
        ["00000", "encoder=mlp 0", "0/2", "40/40", "90.00", "20.0", "finished"],
    ]


def test_search_counts_the_epochs_of_all_trials() -> None:
    """A trial that ended early has none left: two of five, and a quarter of one."""
    search, seen = SearchProgress(5, 40), []
    with listening(seen.append):
        for one in LANES:
            search.take(one)
        search.report()
    note = "2 of 5 trials done, 2 running"
    assert seen == [Progress(part="trials", done=90, total=200, unit="epochs", note=note)]


# --- views ----------------------------------------------------------------------------------------------------------


def test_view_without_a_terminal_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what begins and ends; and what goes on, since when, after nine seconds without a line."""
    now, lines = Clock(), []
    monkeypatch.setattr(live.time, "monotonic", now)
    view = View("betaline run", lines.append)
    for second in range(40):
        now.seconds = 100.0 + second
        if second == 12:
            view.on_progress("services", Progress(part="starting the services"))
        if second == 30:
            view.on_event("train", Event(kind="progress", fields={"part": "connecting to Ray"}))
        view.heartbeat()
    assert lines == [
        "   9.0 s  loading libraries",
        "  12.0 s  services: starting the services",
        "  21.0 s  services: starting the services, for 0:09",
        "  30.0 s  services: done in 0:18",
        "  30.0 s  train: connecting to Ray",
        "  39.0 s  train: connecting to Ray, for 0:09",
    ]


# --- Prefect --------------------------------------------------------------------------------------------------------


class Server:
    """A stand-in for Prefect's client that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, str]] = []

    def update_artifact(self, artifact: Any, update: Any) -> None:
        self.shown.append((update.data, update.description))


def test_artifact_is_updated_by_news_and_by_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without news it waits for ten seconds; with news it does not."""
    now, server = Clock(), Server()
    monkeypatch.setattr(job_events.time, "monotonic", now)
    monkeypatch.setattr(job_events, "create_progress_artifact", lambda *_: "id")
    monkeypatch.setattr(job_events, "get_client", lambda **_: server)
    shown = job_events.ProgressArtifact("train", "train-1")
    for second, done in ((1, None), (2, 250.0), (3, 500.0), (4, None), (12, None), (13, None), (14, None)):
        now.seconds = 100.0 + second
        if done is not None:
            position = Progress(part="training", done=done, total=1000, unit="examples")
            shown.take(Event(kind="progress", fields=asdict(position)))
        shown.update()
    assert server.shown == [
        (25.0, "train train-1: training: 250 of 1,000 examples"),
        (50.0, "train train-1: training: 500 of 1,000 examples, 250 examples/s, 0:02 left"),
        (50.0, "train train-1: training: 500 of 1,000 examples, 250 examples/s, last report 0:10 ago"),
    ]


def test_artifact_that_prefect_refuses_complains_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job goes on, and the artifact is tried again."""
    answers: list[Any] = [OSError("no route"), OSError("no route"), "id"]

    def create(*_: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(job_events, "create_progress_artifact", create)
    monkeypatch.setattr(job_events, "get_run_logger", lambda: logging.getLogger("a run"))
    monkeypatch.setattr(job_events, "HEARTBEAT_SECONDS", -math.inf)
    shown = job_events.ProgressArtifact("train", "train-1")
    shown.update()
    shown.update()
    assert [record.getMessage() for record in caplog.records] == ["Prefect refused the progress of train-1: no route"]
    assert shown.artifact == "id"
