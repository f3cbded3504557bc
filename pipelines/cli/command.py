"""The groups of subcommands, and what becomes of an error."""

from __future__ import annotations

import io
import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated, cast

import typer

from pipelines.cli import models, operating, services, shipping, stages
from pipelines.cli.console import say_error
from pipelines.models.refusals import as_refusal

app = typer.Typer(
    name="betaline",
    help="Train variational autoencoders on a cluster, and ship them. Start with `betaline run`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
GROUPS = {
    "Make and apply a model": stages,
    "Look at models": models,
    "Ship models": shipping,
    "Automate": operating,
    "Servers": services,
}
for title, room in GROUPS.items():
    for command in room.app.registered_commands:
        command.rich_help_panel = title
    app.add_typer(room.app)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"betaline {version('betaline')}")
        raise typer.Exit


@app.callback()
def _options_before_the_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Runs the command. An error of betaline is printed without a traceback, and the exit status is 1.

    With `--json` standard output gets one JSON object also where the command fails.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal or file in ASCII or Latin-1 shows codes in place of signs that it has not.
        cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")
    sys.path.append(os.getcwd())  # parts of a user's own are found from where the command is given
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is begun is ended
    try:
        app()
    except Exception as raised:
        refusal = as_refusal(raised)
        say_error(refusal or raised, for_people=refusal is not None)
        if refusal is None:
            raise
        sys.exit(1)
