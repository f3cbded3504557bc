"""Commands that take a model elsewhere: files for other runtimes, and the Hugging Face Hub."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

from rich.markup import escape
from typer import Argument, Option, Typer

from pipelines.cli.console import Screen, connected
from pipelines.cli.parameters import DEFAULT_HOME, Home, Json

if TYPE_CHECKING:
    from pipelines.api import Model as Opened

app = Typer()

Model = Annotated[
    str,
    Argument(
        help="Folder of a saved model, a registered one (models:/NAME@ALIAS), or one on the Hub (hf://USER/NAME)."
    ),
]


@app.command()
def export(
    model: Model,
    out: Annotated[str, Argument(help="Folder or URI for the files.")],
    format: Annotated[
        Literal["onnx", "torch-export"], Option(help="Format of the files; onnx needs the extra `export`.")
    ] = "onnx",
    precision: Annotated[
        Literal["float32", "float16", "bfloat16"], Option(help="Precision of the networks' weights.")
    ] = "float32",
    pixels: Annotated[
        Literal["float32", "uint8"], Option(help="Type of the pixels that graphs take: in [0, 1], or in 0…255.")
    ] = "float32",
    task: Annotated[
        list[str] | None,
        Option(help="Task to export: encode, decode, reconstruct, generate (repeatable); by default all."),
    ] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Export a model for other runtimes, and compare each file's answers with the model's."""
    from rich.table import Table

    screen = Screen(as_json, home)
    screen.say_loading()
    with ExitStack() as stack:
        opened = _opened(stack, model, home, screen, "export")
        exported = opened.export(out, format=format, precision=precision, pixels=pixels, tasks=task or (), show=False)
    table = Table("file", "MB", "inputs", "outputs", "largest difference", "tolerance")
    for graph in exported.graphs.values():
        ports = [", ".join(one.name for one in side) for side in (graph.inputs, graph.outputs)]
        check = graph.check
        table.add_row(graph.file, f"{graph.bytes / 1e6:.2f}", *ports, f"{check.largest:.1e}", f"{check.tolerance:g}")
    checks = [graph.check for graph in exported.graphs.values()]
    screen.say(f"{escape(exported.folder)}: {escape(exported.name)} as {format} in {precision}.", table)
    screen.say(f"Compared on {checks[0].source}; differences are relative to 1 + |value|.")
    for other, reason in exported.cannot.items():
        screen.say(f"[dim]no {other}: {escape(reason)}[/]")
    screen.end(exported, f"betaline export {shlex.quote(model)} {shlex.quote(out)} --precision float16")


def _opened(stack: ExitStack, model: str, home: str, screen: Screen, command: str) -> Opened:
    """Returns a model; the services that hold a registered one run until the stack ends."""
    from pipelines.api import load
    from pipelines.api.registry import REGISTERED

    if model.startswith(REGISTERED):
        stack.enter_context(connected(home, screen, f"betaline {command} {model}"))
    return load(model)


@app.command()
def push(
    model: Model,
    address: Annotated[str, Argument(help="Address on the Hugging Face Hub: hf://USER/NAME.")],
    private: Annotated[bool, Option("--private", help="Make a new repository private.")] = False,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Send a model to the Hugging Face Hub: safetensors, JSON and a model card."""
    screen = Screen(as_json, home)
    screen.say_loading()
    with ExitStack() as stack:
        pushed = _opened(stack, model, home, screen, "push").push(address, private=private, show=False)
    screen.say(f"{escape(pushed.url)} holds {', '.join(pushed.files)}. Set its license there.")
    screen.end(pushed, f"betaline pull {shlex.quote(address)} FOLDER")


@app.command()
def pull(
    model: Annotated[str, Argument(help="Model: hf://USER/NAME, hf://USER/NAME@REVISION, or models:/NAME@ALIAS.")],
    folder: Annotated[str, Argument(help="Folder to write to.")],
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Download a model to a folder, for `vae.load` and `betaline export`."""
    screen = Screen(as_json, home)
    screen.say_loading()
    from pipelines.models import hub

    if model.startswith(hub.HUB):
        hub.pull(model, folder)
    else:
        with ExitStack() as stack:
            _opened(stack, model, home, screen, "pull").save(folder)
    screen.say(f"{escape(model)} is in {escape(folder)}.")
    screen.end({"model": model, "folder": folder}, f"betaline export {shlex.quote(folder)} out")
