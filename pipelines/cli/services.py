"""Commands that start, stop and examine the servers."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Annotated

from rich.markup import escape
from typer import Exit, Option, Typer

from pipelines.cli.console import Screen
from pipelines.cli.parameters import DEFAULT_HOME, Home, Json

app = Typer()


@app.command()
def up(
    home: Home = DEFAULT_HOME,
    host: Annotated[str, Option(help="Address to listen on; only loopback is accepted.")] = "127.0.0.1",
    env: Annotated[
        bool, Option("--env", help="Print only `export` lines, which set a shell up for the servers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start Prefect, MLflow and Ray on this machine, and leave them running."""
    from pipelines import services
    from pipelines.cli.live import watched

    screen = Screen(as_json or env, home)
    with watched("betaline up", screen.console) as view:
        running = services.start(home, host=host, on_progress=view.on_service)
    environment = running.environment()
    if env:
        for variable, value in environment.items():
            print(f"export {variable}={shlex.quote(value)}")
        return
    screen.say(
        f"Prefect  {running.prefect_url}",
        f"MLflow   {running.mlflow_url}",
        f"Ray      {running.ray_address}",
        f"Prefect asks for the text in {home}/secrets/prefect_auth, MLflow for the user {services.MLFLOW_USER} and the "
        f"password in {home}/secrets/mlflow_password.",
        f'To use them from other programs: eval "$(betaline up --env --home {shlex.quote(home)})"',
    )
    urls = {"prefect": running.prefect_url, "mlflow": running.mlflow_url, "ray": running.ray_address}
    public = {name: value for name, value in environment.items() if name not in services.SECRETS}
    screen.end({**urls, "environment": public}, "betaline run")


@app.command()
def down(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Stop the servers that `betaline up` started."""
    from pipelines import services

    screen = Screen(as_json, home)
    running = services.read(services.local_home(home))
    if running is not None:
        screen.say("Stopping Prefect, MLflow and Ray.")
        services.stop(running)
    screen.say("Stopped." if running else "Nothing was running.")
    screen.end({"stopped": running is not None}, "betaline up")


@app.command()
def doctor(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Check versions, ports, tokens, disk, GPU and cluster, and say how to mend what is wrong."""
    from pipelines.services.doctor import examine

    screen = Screen(as_json, home)
    checks = examine(home)
    marks = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}
    for check in checks:
        screen.say(f"{marks[check.status]} [bold]{check.name}[/]: {escape(check.found)}")
        if check.mend:
            screen.say(f"  {escape(check.mend)}")
    failed = sum(check.status == "fail" for check in checks)
    result = {"checks": [asdict(check) for check in checks], "failed": failed}
    screen.end(result, "betaline doctor" if failed else "betaline run")
    if failed:
        raise Exit(1)
