"""The commands of the servers, and of their doctor."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from pipelines.cli.console import DEFAULT_HOME, Home, Json, Screen

app = typer.Typer()


@app.command()
def up(
    home: Home = DEFAULT_HOME,
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond loopback needs servers of your own.")
    ] = "127.0.0.1",
    env: Annotated[bool, typer.Option("--env", help="Print only `export` lines for a shell.")] = False,
    as_json: Json = False,
) -> None:
    """Start Prefect, MLflow and Ray on loopback, and keep them running."""
    from pipelines import services

    screen = Screen(as_json or env)
    running = services.start(
        home, host=host, on_progress=lambda name, seconds: screen.say(f"{name} is ready after {seconds:.1f} s")
    )
    environment = running.environment()
    if env:
        import shlex

        for variable, value in environment.items():
            print(f"export {variable}={shlex.quote(value)}")
        return
    screen.say(
        f"Prefect  {running.prefect_url}",
        f"MLflow   {running.mlflow_url}",
        f"Ray      {running.ray_address}",
        f"Prefect asks for the word in {home}/secrets/prefect_auth, MLflow for the user {services.MLFLOW_USER} and the "
        f"password in {home}/secrets/mlflow_password.",
        f'To use them from other programs: eval "$(betaline up --env --home {home})"',
    )
    urls = {"prefect": running.prefect_url, "mlflow": running.mlflow_url, "ray": running.ray_address}
    screen.end(
        {**urls, "environment": {k: v for k, v in environment.items() if k not in services.SECRETS}}, "betaline run"
    )


@app.command()
def down(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Stop what `betaline up` started."""
    from pipelines import services

    screen = Screen(as_json)
    running = services.read(services.local_home(home))
    if running is not None:
        services.stop(running)
    screen.say("Stopped." if running else "Nothing was running.")
    screen.end({"stopped": running is not None}, "betaline up")


@app.command()
def doctor(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Check versions, ports, tokens, disk, GPU and cluster, and say how to mend what is wrong."""
    from dataclasses import asdict

    from pipelines.services import doctor as examiner

    screen = Screen(as_json)
    checks = examiner.examine(home)
    marks = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}
    for check in checks:
        screen.say(f"{marks[check.status]} [bold]{check.name}[/]: {escape(check.found)}")
        if check.status != "ok":
            screen.say(f"  {escape(check.mend)}")
    failed = sum(check.status == "fail" for check in checks)
    screen.end(
        {"checks": [asdict(check) for check in checks], "failed": failed},
        "betaline doctor" if failed else "betaline run",
    )
    if failed:
        raise typer.Exit(1)
