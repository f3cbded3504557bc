"""What a person sees in the terminal while a pipeline runs: the stages, the trials, the epochs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.runs import Event

LAST_TRIALS = 8


class View:
    """Keeps what the events have told, and draws it."""

    def __init__(self, title: str, announce: Callable[[str], None] | None = None) -> None:
        self.title = title
        self.announce = announce
        self.started = time.monotonic()
        self.stage = "services"
        self.notes: dict[str, str] = {}
        self.trials: dict[str, dict[str, Any]] = {}
        self.epoch: dict[str, Any] = {}

    def on_service(self, name: str, seconds: float) -> None:
        if self.announce:
            self.announce(f"{time.monotonic() - self.started:6.1f} s  {name} is ready")
        self.notes["services"] = f"{self.notes.get('services', '')}  {name} {seconds:.0f} s".strip()

    def on_event(self, kind: str, event: Event) -> None:
        if self.announce and kind != self.stage:
            self.announce(f"{time.monotonic() - self.started:6.1f} s  {kind}")
        self.stage = kind
        fields = event.fields
        match event.kind:
            case "ingest" | "apply":
                self.notes[event.kind] = f"{fields['rows']:,} of {fields['total']:,} examples"
            case "trial":
                self.trials[fields["trial_id"]] = fields
                done = sum(trial["status"] != "running" for trial in self.trials.values())
                self.notes["tune"] = f"{done} trials done, {len(self.trials) - done} running"
            case "epoch":
                self.epoch = fields
                self.notes["train"] = (
                    f"epoch {fields['epoch']}, validation bound {fields['validation_negative_bound']:.2f} nats "
                    f"(best {fields['best_negative_bound']:.2f}), {fields['examples_per_second']:,.0f} examples/s"
                )
            case "progress":
                self.notes["train"] = (
                    f"epoch {fields['epoch']}, step {fields['step']:,} of {fields['total_steps']:,}, "
                    f"{fields['examples_per_second']:,.0f} examples/s"
                )
            case "evaluate":
                self.notes["evaluate"] = fields["what"]
            case _:
                self.notes[kind] = event.kind

    def __rich__(self) -> RenderableType:
        stages = Table.grid(padding=(0, 2))
        for stage, note in self.notes.items():
            mark = "[yellow]●[/]" if stage == self.stage else "[green]✓[/]"
            stages.add_row(mark, f"[bold]{stage}[/]", Text(note))
        parts: list[RenderableType] = [stages]
        if self.stage == "tune" and self.trials:
            parts.append(self._trial_table())
        seconds = time.monotonic() - self.started
        return Panel(Group(*parts), title=self.title, subtitle=f"{seconds:.0f} s", title_align="left")

    def _trial_table(self) -> Table:
        table = Table("trial", "configuration", "epochs", "distortion", "rate", "bound (nats)", "", box=None)
        latest = sorted(self.trials.values(), key=lambda trial: trial["status"] != "running")[:LAST_TRIALS]
        for trial in latest:
            settings = ", ".join(f"{k.rsplit('.', 1)[-1]}={v}" for k, v in trial["parameters"].items())
            figures = [trial["distortion"], trial["rate"], trial["negative_bound"]]
            cells = ["" if value is None else f"{value:.2f}" for value in figures]
            table.add_row(trial["trial_id"][-5:], settings, str(trial["epochs"]), *cells, trial["status"])
        return table


@contextmanager
def watched(title: str, console: Console) -> Iterator[View]:
    """Draws a view while the block runs; on a console that is no terminal, one line for each stage."""
    if not console.is_terminal:
        yield View(title, announce=lambda line: console.print(line, highlight=False))
        return
    view = View(title)
    with Live(view, console=console, refresh_per_second=4, transient=True):
        yield view
