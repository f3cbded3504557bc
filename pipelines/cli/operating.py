"""The commands of those who let betaline run by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipelines.cli import options
from pipelines.cli.console import DEFAULT_HOME, ConfigFile, Home, Json, PresetName, RunName, Screen, connected, prepare
from vae.config import parse

app = typer.Typer()


@app.command()
def deploy(
    file: Annotated[Path, typer.Option(help="What to deploy.")] = Path("prefect.yaml"),
    pool: Annotated[str, typer.Option(help="Process work pool; made where it is missing.")] = "betaline",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Register every flow of a prefect.yaml with Prefect."""
    screen = Screen(as_json)
    with connected(home, screen, "betaline deploy"):
        from pipelines.flows import deployments

        names = deployments.deploy(file, pool)
    screen.say(*(f"[bold]{escape(name)}[/]" for name in names))
    screen.end({"deployments": names, "pool": pool}, f"betaline worker --pool {pool}")


@app.command()
def worker(
    pool: Annotated[str, typer.Option(help="Process work pool; made where it is missing.")] = "betaline",
    limit: Annotated[int | None, typer.Option(help="Flow runs at once, at most.")] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Run what is scheduled, triggered or submitted, until it is interrupted."""
    import signal
    import subprocess
    import sys

    from pipelines import services

    screen = Screen(as_json=False)
    prepare(home)
    with services.connect(home, on_progress=lambda name, seconds: screen.say(f"{name} is ready after {seconds:.1f} s")):
        from pipelines.flows import deployments

        deployments.ensure_pool(pool)
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
        running = subprocess.Popen([*command, *(["--limit", str(limit)] if limit else [])])
        signal.signal(signal.SIGTERM, lambda *_: running.terminate())
        while True:
            try:
                raise typer.Exit(running.wait())
            except KeyboardInterrupt:  # the worker has had it as well, and ends what it runs
                continue


@app.command()
def schedule(
    flow: Annotated[str, typer.Argument(help="train, tune, watch or drift.")],
    subject: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="NAME (the newest at each time), NAME@ID, or a dataset's folder; for watch a source.",
        ),
    ],
    cron: Annotated[str | None, typer.Option(help="Five fields, such as '0 2 * * *'.")] = None,
    every: Annotated[float | None, typer.Option(help="Seconds between runs, instead of --cron.")] = None,
    on: Annotated[
        str | None, typer.Option(help="Instead of both: data, each new dataset of the name; or drift, of the model.")
    ] = None,
    timezone: Annotated[str, typer.Option(help="Of the cron line, such as Europe/Vienna.")] = "UTC",
    overlap: Annotated[
        str | None,
        typer.Option(
            help="A run that is due while another one runs: queue it, as by default but for watch, or refuse it."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the model, the dataset's name by default; for watch of the dataset.")
    ] = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override a field: objective.beta=4 of train, base.objective.beta=4 of tune, header=false of watch "
            "(repeatable).",
        ),
    ] = None,
    register: Annotated[
        str | None, typer.Option(help="The alias that a trained model may take, such as champion.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="A person decides on the alias.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Start no more runs for now.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Start runs again.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget it.")] = False,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Let a flow run by itself, by the clock or on an event; `betaline schedules` lists what does."""
    from dataclasses import asdict

    screen = Screen(as_json)
    name = name or options.name_of(subject)
    request = options.scheduled_request(flow, subject, name, preset, config, settings, register, approve)
    if not (pause or resume or remove):
        options.check_subject(home, request, on)
    with connected(home, screen, f"betaline schedule {flow} {name}"):
        from pipelines.flows import deployments

        if remove:
            deployments.remove(flow, name)
            screen.say(f"{flow}/{name} runs by itself no more.")
            screen.end({"removed": f"{flow}/{name}"}, "betaline schedules")
            return
        if pause or resume:
            found = deployments.pause(flow, name, active=resume)
        else:
            found = deployments.schedule(
                flow,
                request,
                cron=cron,
                every_seconds=every,
                on=options.occasion(on),
                timezone=timezone,
                overlap=options.overlap(overlap),
            )
    state = "runs" if found.is_active else "is paused:"
    screen.say(f"[bold]{found.flow}/{found.name}[/] {state} {escape(found.when)}.")
    screen.end({**asdict(found), "next_run": found.next_run and found.next_run.isoformat()}, "betaline worker")


@app.command("schedules")
def list_schedules(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List what runs by itself, and when next."""
    from dataclasses import asdict

    from rich.table import Table

    screen = Screen(as_json)
    with connected(home, screen, "betaline schedules"):
        from pipelines.flows import deployments

        found = deployments.schedules()
    table = Table("flow", "model", "when", "next run", "")
    for one in found:
        following = one.next_run.isoformat(" ", "minutes") if one.next_run else ""
        table.add_row(one.flow, one.name, one.when, following, "" if one.is_active else "paused")
    screen.say(table if found else "Nothing runs by itself yet.")
    listed = [{**asdict(one), "next_run": one.next_run and one.next_run.isoformat()} for one in found]
    screen.end({"schedules": listed}, "betaline worker")


@app.command()
def drift(
    name: Annotated[str, typer.Argument(help="Registered model.")],
    dataset: Annotated[str, typer.Argument(help="Fresh data: NAME, NAME@ID, or a dataset's folder.")],
    alias: Annotated[str, typer.Option(help="Which version of the model.")] = "champion",
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Compare fresh data with what a registered model was trained on."""
    from rich.table import Table

    from pipelines.cli.summary import drift_verdict
    from pipelines.flows.requests import DriftRequest

    screen = Screen(as_json)
    values = {"name": name, "dataset": options.absolute(dataset), "alias": alias}
    request = parse(DriftRequest, values, "drift")
    with connected(home, screen, f"betaline drift {name}"):
        from pipelines.flows import stages as flows

        result = flows.drift(request, run=run)
    table = Table("", "trained on", "fresh", "may differ by", "")
    for one in result["findings"]:
        figures = (f"{one[field]:.4g}" for field in ("expected", "found", "allowed"))
        table.add_row(f"{one['what']} ({one['unit']})", *figures, "[bold red]drifted[/]" if one["drifted"] else "")
    screen.say(f"{result['num_examples']:,} rows of {escape(dataset)}, {name} version {result['version']}:", table)
    screen.say(f"Verdict: [bold]{escape(drift_verdict(result['findings']))}[/].")
    screen.end(result, f"betaline train {dataset} --name {name}" if result["drifted"] else "betaline schedules")


@app.command()
def approve(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Flow run, or training run; without one, what waits is listed."),
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Say no.")] = False,
    reason: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    by: Annotated[str | None, typer.Option(help="Who decides; the user's name by default.")] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Decide on a promotion that waits for a person."""
    import getpass
    from dataclasses import asdict

    from rich.table import Table

    screen = Screen(as_json)
    with connected(home, screen, "betaline approve"):
        from pipelines.flows import approvals

        if run is None:
            found = approvals.waiting()
        else:
            found = [approvals.answer(run, approve=not reject, by=by or getpass.getuser(), reason=reason)]
    listed = [{**asdict(one), "since": one.since and one.since.isoformat()} for one in found]
    if run is not None:
        verb = "stays as it is" if reject else f"may move to run {found[0].run}"
        screen.say(f"{found[0].alias} of [bold]{found[0].name}[/] {verb}; a worker takes the flow run up again.")
        screen.end({"answered": listed[0], "approved": not reject}, f"betaline models {found[0].name}")
        return
    table = Table("flow run", "model", "alias", "training run", "since")
    for one in found:
        since = one.since.isoformat(" ", "minutes") if one.since else ""
        table.add_row(one.flow_run, one.name, one.alias, one.run, since)
    screen.say(table if found else "Nothing waits for a person.")
    screen.end({"waiting": listed}, f"betaline approve {found[0].flow_run}" if found else "betaline status")


@app.command()
def status(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Show what runs, and what everything else waits for."""
    from dataclasses import asdict

    from pydantic_core import to_jsonable_python

    screen = Screen(as_json)
    with connected(home, screen, "betaline status"):
        from pipelines.cli.status_view import status_lines
        from pipelines.cluster import status as asked

        found = asked.collect()
    screen.say(*status_lines(found))
    paused = [run.name for run in found.runs if run.state in ("Paused", "Suspended")]
    screen.end(to_jsonable_python(asdict(found)), f"betaline approve {paused[0]}" if paused else "betaline schedules")
