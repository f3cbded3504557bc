"""Commands that show presets, registered models and reports."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import asdict
from typing import Annotated

from rich.markup import escape
from typer import Argument, Option, Typer

from pipelines.cli.console import Screen, connected, prepare, run_flow, served
from pipelines.cli.parameters import DEFAULT_HOME, Alias, Home, Json, Registered

app = Typer()


@app.command("presets")
def list_presets(as_json: Json = False) -> None:
    """List the published models that `--preset` accepts, with their references."""
    from rich.table import Table

    from vae.config.presets import PRESETS

    screen = Screen(as_json)
    table = Table("preset", "what it is", "reference")
    for name, preset in PRESETS.items():
        table.add_row(name, preset.summary, preset.reference)
    screen.say(table)
    listed = [
        {"name": name, "summary": preset.summary, "reference": preset.reference, "changes": preset.changes}
        for name, preset in PRESETS.items()
    ]
    screen.end({"presets": listed}, "betaline train digits --preset beta_tc_vae")


@app.command()
def models(
    name: Annotated[str | None, Argument(help="Registered model to list; by default all of them.")] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """List registered models: their versions, scores and aliases."""
    from rich.table import Table

    screen = Screen(as_json, home)
    with connected(home, screen, "betaline models"):
        from pipelines.models import registry

        versions = registry.versions(name)
        if name is not None and not versions:
            raise registry.unknown_model(name)
    table = Table("model", "version", "aliases", "score (nats)", "protocol", "dataset")
    for version in versions:
        score = version.score
        figures = (f"{score.nats:.3f}", score.name, score.dataset_id[:12]) if score else ("", "", "")
        table.add_row(version.name, version.version, ", ".join(version.aliases), *figures)
    screen.say(table if versions else "No model is registered yet.")
    pull = f'eval "$(betaline up --env --home {shlex.quote(home)})"'
    screen.end({"models": [asdict(version) for version in versions]}, pull if versions else "betaline run")


@app.command()
def report(
    run_name: Annotated[
        str,
        Argument(metavar="RUN", help="Name of a training, a search or a promotion, as its command printed it."),
    ],
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Print the address of a run's report. The report of an unfinished training or search is drawn as it stands."""
    from pipelines.stages.report import ReportRequest
    from vae.config import parse

    screen = Screen(as_json, home)
    result = run_flow("report", run_name, parse(ReportRequest, {"run": run_name}, "report"), home, screen)
    screen.say_report(result.report_url)
    screen.end(result, "betaline status")


@app.command()
def rollback(name: Registered, alias: Alias = "champion", home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Give an alias back to the version that had it before."""
    screen = Screen(as_json, home)
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
        str | None, Argument(help="Model: NAME, NAME@ALIAS or NAME/VERSION; by default the first champion.")
    ] = None,
    port: Annotated[int, Option(help="Loopback port to listen on; 0 means any free one.")] = 8321,
    home: Home = DEFAULT_HOME,
) -> None:
    """Explore a model's latent space, and what the model can do, in a browser, until Ctrl-C."""
    from vae.errors import ConfigError

    screen = Screen(as_json=False)
    prepare(home)
    try:
        from pipelines.explorer import page
    except ModuleNotFoundError as error:
        raise ConfigError(f"the explorer needs {error.name}: pip install 'betaline[explore]'") from None
    with served(home, screen, "betaline explore"):
        from pipelines.explorer.registered import Registered as Models

        models = Models(os.environ["BETALINE_HOME"])
        if model is not None:
            models.pull(model)  # an error is printed here, and not shown in a browser
        with contextlib.suppress(KeyboardInterrupt):
            page.serve(models, model or "", port, lambda url: screen.say(f"[bold]{url}[/]  (Ctrl-C ends it)"))
