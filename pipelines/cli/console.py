"""What every command shares: where it prints, the services it uses, and the options that come back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from vae.errors import BetalineError

if TYPE_CHECKING:
    from pipelines.services import Services

Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line on stdout.")]
Home = Annotated[
    str, typer.Option("--home", envvar="BETALINE_HOME", help="Where datasets, runs and the services' state are kept.")
]
RunName = Annotated[
    str | None, typer.Option("--run", help="Name of the run; the same name goes on where an earlier one stopped.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML or JSON file; docs/configuration.md lists its fields.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: --set objective.beta=4 (repeatable).")
]
PresetName = Annotated[
    str | None, typer.Option("--preset", help="Start from a published model; `betaline presets` lists them.")
]
ProjectionName = Annotated[
    str, typer.Option("--projection", help="The report's map of the latent: pca, or umap (the extra report-umap).")
]
DatasetName = Annotated[str, typer.Argument(help="NAME, NAME@ID, or the URI of a dataset's folder.")]
ModelName = Annotated[str | None, typer.Option("--name", help="Of the model; the dataset's name by default.")]
DEFAULT_HOME = ".betaline"


class Screen:
    """Where a command prints: everything for people goes to stderr where stdout carries JSON."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json)

    def say(self, *lines: Any) -> None:
        for line in lines:
            self.console.print(line, highlight=False, soft_wrap=True)

    def say_report(self, url: str | None) -> None:
        """Where a browser shows the report of a run; nothing of one that left none."""
        if url is not None:
            self.say(f"Report and plots: {escape(url)}")

    def say_verdict(self, result: dict[str, Any]) -> None:
        """Prints the verdict on a run, with a line for each finding and the flags that mend it."""
        self.say(f"Verdict: [bold]{result['verdict']}[/]")
        for finding in result["findings"]:
            name = finding["name"].replace("_", "-")
            self.say(f"  {name}: {escape(finding['says'])}", f"    try: {escape(finding['advice'])}")

    def end(self, result: dict[str, Any], next_command: str) -> None:
        """The next sensible command for a person, the result for a program."""
        self.say(f"\nNext: [bold]{escape(next_command)}[/]")
        if self.as_json:
            print(json.dumps(result), flush=True)


def prepare(home: str) -> None:
    """Sets the home that flows look for, and who draws bars on the terminal. Before Prefect is imported, which reads its
    settings then.
    """
    os.environ["BETALINE_HOME"] = home if "://" in home else str(Path(home).expanduser().absolute())
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@contextmanager
def connected(home: str, screen: Screen, title: str) -> Iterator[Services]:
    """The services, and a live view of what runs on them. A job that fails leads to the report that it has left."""
    prepare(home)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from pipelines.cli.live import watched
    from pipelines.services import connect

    with watched(title, screen.console) as view, connect(home, on_progress=view.on_service) as services:
        from pipelines.flows import listening

        try:
            with listening.session(view.on_event):
                yield services
        except BetalineError:
            screen.say_report(view.report_url)
            raise
