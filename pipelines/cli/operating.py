"""The commands of those who let betaline run by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipelines.cli import options
from pipelines.cli.console import DEFAULT_HOME, ConfigFile, Home, Json, PresetName, Screen, Settings, connected

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
        from pipelines import deployments

        names = deployments.deploy(file, pool)
    screen.say(*(f"[bold]{escape(name)}[/]" for name in names))
    screen.end({"deployments": names, "pool": pool}, f"prefect worker start --pool {pool}")


@app.command()
def schedule(
    flow: Annotated[str, typer.Argument(help="train or tune.")],
    dataset: Annotated[str, typer.Argument(help="NAME (the newest at each time), NAME@ID, or a dataset's folder.")],
    cron: Annotated[str | None, typer.Option(help="Five fields, such as '0 2 * * *'.")] = None,
    every: Annotated[float | None, typer.Option(help="Seconds between runs, instead of --cron.")] = None,
    timezone: Annotated[str, typer.Option(help="Of the cron line, such as Europe/Vienna.")] = "UTC",
    overlap: Annotated[
        str, typer.Option(help="A run that is due while another one runs: queue it, or refuse it.")
    ] = "queue",
    name: Annotated[str | None, typer.Option(help="Of the model; the dataset's name by default.")] = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: Settings = None,
    pause: Annotated[bool, typer.Option("--pause", help="Start no more runs for now.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Start runs again.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget it.")] = False,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Let training or a search run by itself; `betaline schedules` lists what does."""
    from dataclasses import asdict

    screen = Screen(as_json)
    name = name or options.name_of(dataset)
    request = options.scheduled_request(flow, dataset, name, preset, config, settings)
    with connected(home, screen, f"betaline schedule {flow} {name}"):
        from pipelines import deployments

        if remove:
            deployments.remove(flow, name)
            screen.say(f"{flow}/{name} runs by itself no more.")
            screen.end({"removed": f"{flow}/{name}"}, "betaline schedules")
            return
        if pause or resume:
            found = deployments.pause(flow, name, active=resume)
        else:
            found = deployments.schedule(
                flow, request, cron=cron, every_seconds=every, timezone=timezone, overlap=options.overlap(overlap)
            )
    state = "runs" if found.is_active else "is paused:"
    screen.say(f"[bold]{found.flow}/{found.name}[/] {state} {escape(found.when)}.")
    screen.end({**asdict(found), "next_run": found.next_run and found.next_run.isoformat()}, "betaline schedules")


@app.command("schedules")
def list_schedules(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List what runs by itself, and when next."""
    from dataclasses import asdict

    from rich.table import Table

    screen = Screen(as_json)
    with connected(home, screen, "betaline schedules"):
        from pipelines import deployments

        found = deployments.schedules()
    table = Table("flow", "model", "when", "next run", "")
    for one in found:
        following = one.next_run.isoformat(" ", "minutes") if one.next_run else ""
        table.add_row(one.flow, one.name, one.when, following, "" if one.is_active else "paused")
    screen.say(table if found else "Nothing runs by itself yet.")
    listed = [{**asdict(one), "next_run": one.next_run and one.next_run.isoformat()} for one in found]
    screen.end({"schedules": listed}, "prefect worker start --pool betaline")
