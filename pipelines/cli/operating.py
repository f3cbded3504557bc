"""Commands that let betaline run by itself: deployments, schedules, drift, approvals and status."""

from __future__ import annotations

import getpass
import shlex
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.markup import escape
from typer import Argument, Exit, Option, Typer

from pipelines.cli import options
from pipelines.cli.console import Screen, connected, prepare, run_flow, served
from pipelines.cli.parameters import (
    DEFAULT_HOME,
    Alias,
    Approve,
    ConfigFile,
    Dataset,
    Exact,
    Home,
    Json,
    OnEvent,
    Overlap,
    Pool,
    PresetName,
    Register,
    Registered,
    RunName,
    ScheduledSettings,
    ScheduleName,
    StartFrom,
    Subject,
)

if TYPE_CHECKING:
    from pipelines.operating.deployments import Scheduled

app = Typer()


@app.command()
def deploy(
    file: Annotated[
        Path | None,
        Option(help="File of deployments of your own; by default every flow is registered, to run in this folder."),
    ] = None,
    pool: Pool = "betaline",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Register every flow with Prefect, so that a worker can run it."""
    screen = Screen(as_json, home)
    with connected(home, screen, "betaline deploy"):
        from pipelines.operating import deployments

        names = deployments.deploy(file, pool)
    screen.say(*(f"[bold]{escape(name)}[/]" for name in names))
    screen.end({"deployments": names, "pool": pool}, f"betaline worker --pool {pool}")


@app.command()
def worker(
    pool: Pool = "betaline",
    limit: Annotated[int | None, Option(help="Maximum number of flow runs at a time; by default any.")] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Run flows that are scheduled, triggered or submitted, until Ctrl-C."""
    screen = Screen(as_json=False)
    prepare(home)
    with served(home, screen, "betaline worker"):
        from pipelines.operating import deployments

        deployments.ensure_pool(pool)
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
        running = subprocess.Popen([*command, *(["--limit", str(limit)] if limit else [])])
        signal.signal(signal.SIGTERM, lambda *_: running.terminate())
        while True:
            try:
                raise Exit(running.wait())
            except KeyboardInterrupt:  # the worker has received it as well, and ends what it runs
                continue


@app.command()
def schedule(
    flow: Annotated[Literal["train", "tune", "watch", "drift"], Argument(help="Flow to run.")],
    subject: Subject,
    cron: Annotated[str | None, Option(help="Times as five cron fields, such as '0 2 * * *'.")] = None,
    every: Annotated[float | None, Option(help="Seconds between runs, instead of --cron.")] = None,
    on: OnEvent = None,
    timezone: Annotated[str, Option(help="Time zone of --cron, such as Europe/Vienna.")] = "UTC",
    overlap: Overlap = None,
    name: ScheduleName = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: ScheduledSettings = None,
    register: Register = None,
    approve: Approve = False,
    exact: Exact = False,
    start_from: StartFrom = None,
    pause: Annotated[bool, Option("--pause", help="Start no more runs until --resume.")] = False,
    resume: Annotated[bool, Option("--resume", help="Start runs again after --pause.")] = False,
    remove: Annotated[bool, Option("--remove", help="Delete the schedule.")] = False,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Schedule a flow: run it at times or on an event. `betaline schedules` lists the schedules."""
    screen, name = Screen(as_json, home), name or options.name_of(subject)
    asked = {"alias": register, "approve": approve, "exact": exact, "start_from": start_from}
    request = options.scheduled_request(flow, subject, name, options.Given(preset, config, settings), **asked)
    times = {"cron": cron, "every_seconds": every, "on": on, "timezone": timezone, "overlap": overlap}
    if not (pause or resume or remove):
        options.check_subject(home, request, on)
    with connected(home, screen, f"betaline schedule {flow} {name}"):
        from pipelines.operating import deployments

        if remove:
            scheduled = None
            deployments.remove(flow, name)
        elif pause or resume:
            scheduled = deployments.pause(flow, name, active=resume)
        else:
            scheduled = deployments.schedule(flow, request, **times)
    _say_scheduled(screen, f"{flow}/{name}", scheduled)


def _say_scheduled(screen: Screen, name: str, scheduled: Scheduled | None) -> None:
    if scheduled is None:
        screen.say(f"{name} runs by itself no more.")
        screen.end({"removed": name}, "betaline schedules")
        return
    state = "runs" if scheduled.is_active else "is paused:"
    screen.say(f"[bold]{name}[/] {state} {escape(scheduled.when)}.")
    screen.end(asdict(scheduled), "betaline worker")


@app.command("schedules")
def list_schedules(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the scheduled flows, with the time of the next run of each."""
    from rich.table import Table

    screen = Screen(as_json, home)
    with connected(home, screen, "betaline schedules"):
        from pipelines.operating import deployments

        schedules = deployments.schedules()
    table = Table("flow", "model", "when", "next run", "")
    for one in schedules:
        following = one.next_run.isoformat(" ", "minutes") if one.next_run else ""
        table.add_row(one.flow, one.name, one.when, following, "" if one.is_active else "paused")
    screen.say(table if schedules else "Nothing runs by itself yet.")
    screen.end({"schedules": [asdict(one) for one in schedules]}, "betaline worker")


@app.command()
def drift(
    name: Registered,
    dataset: Dataset,
    alias: Alias = "champion",
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Compare fresh data with the data that a registered model was trained on."""
    from rich.table import Table

    from pipelines.cli.summary import drift_verdict
    from pipelines.stages.drift import DriftRequest
    from vae.config import parse

    screen = Screen(as_json, home)
    values = {"name": name, "dataset": options.absolute(dataset), "alias": alias}
    result = run_flow("drift", name, parse(DriftRequest, values, "drift"), home, screen, run=run)
    table = Table("", "trained on", "fresh", "may differ by", "")
    for one in result.findings:
        figures = (f"{figure:.4g}" for figure in (one.expected, one.found, one.allowed))
        table.add_row(f"{one.what} ({one.unit})", *figures, "[bold red]drifted[/]" if one.drifted else "")
    screen.say(f"{result.num_examples:,} rows of {escape(dataset)}, {name} version {result.version}:", table)
    screen.say(f"Verdict: [bold]{escape(drift_verdict(result.findings))}[/].")
    again = shlex.join(["betaline", "train", dataset, "--name", name])
    screen.end(result, again if result.drifted else "betaline schedules")


@app.command()
def approve(
    run: Annotated[
        str | None, Argument(metavar="[RUN]", help="Flow run or training run; without it the waiting ones are listed.")
    ] = None,
    reject: Annotated[bool, Option("--reject", help="Refuse the promotion.")] = False,
    reason: Annotated[str, Option(help="Reason, kept with the decision.")] = "",
    by: Annotated[str | None, Option(help="Name of the person who decides; by default this user.")] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Decide on a promotion that waits for a person, or list those that wait."""
    screen = Screen(as_json, home)
    with connected(home, screen, "betaline approve"):
        from pipelines.operating import approvals

        waiting = approvals.waiting() if run is None else []
        answered = run and approvals.answer(run, approve=not reject, by=by or getpass.getuser(), reason=reason)
    if not answered:
        _list_waiting(screen, waiting)
        return
    verb = "stays as it is" if reject else f"may move to run {answered.run}"
    screen.say(f"{answered.alias} of [bold]{answered.name}[/] {verb}; a worker takes the flow run up again.")
    screen.end({"answered": asdict(answered), "approved": not reject}, f"betaline models {answered.name}")


def _list_waiting(screen: Screen, waiting: list[Any]) -> None:
    from rich.table import Table

    table = Table("flow run", "model", "alias", "training run", "since")
    for one in waiting:
        since = one.since.isoformat(" ", "minutes") if one.since else ""
        table.add_row(one.flow_run, one.name, one.alias, one.run, since)
    screen.say(table if waiting else "Nothing waits for a person.")
    following = f"betaline approve {waiting[0].flow_run}" if waiting else "betaline status"
    screen.end({"waiting": [asdict(one) for one in waiting]}, following)


@app.command()
def status(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Show flow runs, what each waits for, the workers and the cluster."""
    screen = Screen(as_json, home)
    with connected(home, screen, "betaline status"):
        from pipelines.cli.status_view import status_lines
        from pipelines.operating.status import collect

        current = collect()
    screen.say(*status_lines(current))
    paused = [run.name for run in current.runs if run.state in ("Paused", "Suspended")]
    following = f"betaline approve {paused[0]}" if paused else "betaline schedules"
    screen.end(current, following)
