"""The commands that show what there is to start from, and what came of it."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer
from rich.markup import escape

from pipelines.cli.console import DEFAULT_HOME, Home, Json, Screen, connected, prepare
from vae.config import parse

app = typer.Typer()


@app.command("presets")
def list_presets(as_json: Json = False) -> None:
    """List the published models that `--preset` names."""
    from rich.table import Table

    from vae.config.presets import PRESETS

    screen = Screen(as_json)
    table = Table("preset", "what it is", "reference")
    for name, found in PRESETS.items():
        table.add_row(name, found.summary, found.reference)
    screen.say(table)
    listed = [
        {"name": name, "summary": found.summary, "reference": found.reference, "changes": found.changes}
        for name, found in PRESETS.items()
    ]
    screen.end({"presets": listed}, "betaline train digits --preset beta_tc_vae")


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="One model; all by default.")] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """List registered versions, their scores and aliases."""
    from dataclasses import asdict

    from rich.table import Table

    screen = Screen(as_json)
    with connected(home, screen, "betaline models"):
        from pipelines.models import registry

        found = registry.versions(name)
        if name is not None and not found:
            raise registry.unknown_model(name)
    table = Table("model", "version", "aliases", "score (nats)", "protocol", "dataset")
    for version in found:
        score = version.score
        figures = (f"{score.nats:.3f}", score.name, score.dataset_id[:12]) if score else ("", "", "")
        table.add_row(version.name, version.version, ", ".join(version.aliases), *figures)
    screen.say(table if found else "No model is registered yet.")
    pull = f'eval "$(betaline up --env --home {shlex.quote(home)})"'
    screen.end({"models": [asdict(version) for version in found]}, pull if found else "betaline run")


@app.command()
def report(
    run_name: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A training, a search or a promotion, as the command that began it said."),
    ],
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Say where a run's report is; of a training or a search that has not ended, draw it as it stands."""
    from pipelines.flows.requests import ReportRequest

    screen = Screen(as_json)
    request = parse(ReportRequest, {"run": run_name}, "report")
    with connected(home, screen, f"betaline report {run_name}"):
        from pipelines.flows import stages as flows

        result = flows.report(request)
    screen.say_report(result["report_url"])
    screen.end(result, "betaline status")


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model.")],
    alias: Annotated[str, typer.Option(help="Which alias goes back.")] = "champion",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Give an alias back to the version that had it before."""
    from dataclasses import asdict

    screen = Screen(as_json)
    with connected(home, screen, f"betaline rollback {name}"):
        from pipelines.models import registry

        was, now = registry.rollback(name, alias)
    score = f", {now.score.name} {now.score.nats:.3f} nats" if now.score else ""
    screen.say(
        f"{alias} of [bold]{name}[/] was version {was.version} and is version {now.version} again{escape(score)}."
    )
    screen.end({"alias": alias, "was": asdict(was), "now": asdict(now)}, f"betaline models {name}")


@app.command()
def explore(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="NAME, NAME@ALIAS or NAME/VERSION; the first champion by default."),
    ] = None,
    port: Annotated[int, typer.Option(help="Where to listen on loopback; 0 for any that is free.")] = 8321,
    home: Home = DEFAULT_HOME,
) -> None:
    """Look into a model's latent in a browser, and try what it can do, until it is interrupted."""
    import contextlib
    import os

    from pipelines import services
    from vae.errors import ConfigError

    screen = Screen(as_json=False)
    prepare(home)
    try:
        from pipelines.explorer import page
    except ModuleNotFoundError as error:
        raise ConfigError(f"the explorer needs {error.name}: pip install 'betaline[explore]'") from None
    with services.connect(home, on_progress=lambda name, seconds: screen.say(f"{name} is ready after {seconds:.1f} s")):
        from pipelines.explorer.registered import Registered

        models = Registered(os.environ["BETALINE_HOME"])
        if model is not None:
            models.pull(model)  # what is wrong with it is said here, and not to a browser
        with contextlib.suppress(KeyboardInterrupt):
            page.serve(models, model or "", port, lambda url: screen.say(f"[bold]{url}[/]  (Ctrl-C ends it)"))
