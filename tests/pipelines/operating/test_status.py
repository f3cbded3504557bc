"""What a flow run waits for, in words."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling, Late, Pending, Running, Scheduled, Suspended
from rich.console import Console

from pipelines.cli.status_view import status_lines
from pipelines.cluster.demands import Amounts, ClusterStatus, Demand, JobStatus
from pipelines.flows.ray_job import identity_of
from pipelines.operating.status import RunStatus, Status, Workers, explain, jobs_of, why

ONE_WORKER = Workers(pool="betaline", num_online=1, is_paused=False, limit=None)


def flow_run(state: Any, **values: Any) -> FlowRun:
    """Of a deployment, due a minute ago."""
    return FlowRun(
        **{
            "name": "blue-fox",
            "flow_id": uuid4(),
            "deployment_id": uuid4(),
            "work_pool_name": "betaline",
            "state": state,
            "state_type": state.type,
            "state_name": state.name,
            "expected_start_time": datetime.now(UTC) - timedelta(minutes=1),
            **values,
        }
    )


def job(name: str = "train-7-0", held: Amounts | None = None, *demands: Demand, status: str = "RUNNING") -> JobStatus:
    return JobStatus(submission_id=name, status=status, message="", held=held or {}, demands=demands)


def cluster(total: Amounts, *jobs: JobStatus, largest: Amounts | None = None) -> ClusterStatus:
    return ClusterStatus(
        address="http://ray:8265", num_nodes=1, total=total, largest_node=largest or total, jobs=tuple(jobs)
    )


GPUS = Demand(({"GPU": 1.0},) * 4)
LATER = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("demand", "total", "held", "words"),
    [
        (GPUS, {"GPU": 2.0}, 1.0, "4 × (1 GPU): the cluster has 2 GPU, 1 in use by tune-3-0 and never will be enough"),
        (
            Demand(({"CPU": 1.0, "GPU": 1.0},)),
            {"CPU": 8.0, "GPU": 2.0},
            2.0,
            "1 CPU and 1 GPU: the cluster has 2 GPU, 2 in",
        ),
        (
            Demand(({"CPU": 4.0},)),
            {"CPU": 6.0},
            0.0,
            "4 CPU: which is free in all, and no node .* the largest has 3 CPU",
        ),
    ],
)
def test_demand_says_what_there_is_and_who_has_it(demand: Demand, total: Amounts, held: float, words: str) -> None:
    """Too little at all, too little now, and enough in pieces that are too small."""
    others = [job("tune-3-0", {"GPU": held})] if held else []
    status = cluster(total, job("train-7-0", {}, demand), *others, largest={"CPU": 3.0})
    assert re.match(f"asked for {words.replace('(', '[(]').replace(')', '[)]')}", explain(demand, status))


def pool(**changes: Any) -> list[Workers]:
    """The work pool of the flow runs, with one worker and without a limit, but for some changes."""
    return [replace(ONE_WORKER, **changes)]


@pytest.mark.parametrize(
    ("run", "workers", "words"),
    [
        (flow_run(Suspended()), pool(), "a person's decision: betaline approve blue-fox"),
        (flow_run(Cancelling()), pool(), "its process, to stop its job"),
        (flow_run(Pending()), pool(), "its process, which is starting"),
        (flow_run(Late()), [], "a work pool: its own is gone"),
        (
            flow_run(Late()),
            pool(num_online=0),
            "none polls pool betaline; start one with betaline worker --pool betaline",
        ),
        (flow_run(Late()), pool(is_paused=True), "which is paused: prefect work-pool resume betaline"),
        (flow_run(Late()), pool(limit=2), "a free worker of pool betaline, which runs 2 at once"),
        (flow_run(Scheduled(), expected_start_time=LATER), pool(), "2099-01-02 03:04:05 UTC"),
    ],
)
def test_flow_run_that_has_not_begun_says_why(run: FlowRun, workers: list[Workers], words: str) -> None:
    """It waits for a person, the clock, a worker, its process, or a paused pool."""
    assert words in why(run, workers, [], [], cluster({"CPU": 2.0}))


def test_flow_run_waits_for_another_of_its_deployment() -> None:
    """A run whose deployment runs one at a time names the other one."""
    words = why(flow_run(Late()), pool(), [flow_run(Running(), name="red-owl")], [], cluster({"CPU": 2.0}))
    assert words == "red-owl, a run of the same deployment that is going on"


def test_running_flow_run_waits_for_what_its_job_waits_for() -> None:
    """Its job is found by the identity that derives from it, or a stage's; a run with places waits for nothing."""
    run = flow_run(Running())
    identity = identity_of("pipeline", str(run.id), None)
    mine, ended = job(f"{identity}-train-1", {}, GPUS), job(f"{identity}-train-0", status="FAILED")
    there = cluster({"CPU": 2.0}, mine, ended, job("train-9-0", {"CPU": 1.0}))
    assert jobs_of(run, "pipeline", there) == [mine]
    assert why(run, [], [], [mine], there).startswith("asked for 4 × (1 GPU): the cluster has 0 GPU and never will be")
    assert why(run, [], [], [job("train-9-0", {"CPU": 1.0})], there) == ""
    assert why(run, [], [], [], None) == "the Ray cluster, which does not answer"
    assert run.state_type == StateType.RUNNING


def test_message_of_many_lines_is_shown_in_one() -> None:
    """An exception with its traceback takes one line of the table, for a run that waits and for one that has failed."""
    message = "Flow run encountered an exception: DataError: no rows\n" + "  File 'a.py'\n" * 25
    failed = RunStatus(
        flow="train", name="a", flow_run_id="1", state="Failed", since=None, deployment=None, progress=message
    )
    waiting = replace(failed, name="b", state="Running", progress="", waits_for=message)
    output = StringIO()
    screen = Console(file=output, width=400)
    screen.print(*status_lines(Status(runs=(failed, waiting), strays=(), workers=(), cluster=None)))
    printed = output.getvalue().rstrip().splitlines()
    assert len(printed) == 4, "a heading, a line for each run, and Ray"
    assert printed[1].rstrip().endswith("DataError: no rows …")
