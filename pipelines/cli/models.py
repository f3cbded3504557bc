"""The commands that show what there is to start from, and what came of it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from pipelines.cli.console import DEFAULT_HOME, Home, Json, Screen, connected

app = typer.Typer()


@app.command("presets")
def list_presets(as_json: Json = False) -> None:
    """List the published models that `--preset` names."""
    from rich.table import Table

    from vae.presets import PRESETS

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
        from pipelines import registry

        found = registry.versions(name)
    table = Table("model", "version", "aliases", "score (nats)", "protocol", "dataset")
    for version in found:
        score = version.score
        figures = (f"{score.nats:.3f}", score.name, score.dataset_id[:12]) if score else ("", "", "")
        table.add_row(version.name, version.version, ", ".join(version.aliases), *figures)
    screen.say(table if found else "No model is registered yet.")
    screen.end({"models": [asdict(version) for version in found]}, "betaline run" if not found else "betaline up")


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
        from pipelines import registry

        was, now = registry.rollback(name, alias)
    score = f", {now.score.name} {now.score.nats:.3f} nats" if now.score else ""
    screen.say(
        f"{alias} of [bold]{name}[/] was version {was.version} and is version {now.version} again{escape(score)}."
    )
    screen.end({"alias": alias, "was": asdict(was), "now": asdict(now)}, f"betaline models {name}")
