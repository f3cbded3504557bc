"""Live view of a pipeline in the terminal: its stages, trials and epochs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.cluster.runs import Event
from pipelines.flows.search_progress import SearchProgress

MAX_TRIALS = 8
"""Most trials that the table shows."""


class View:
    """State of a pipeline, gathered from its events.

    Args:
        title: Title of the drawn panel.
        announce: Called with a line for each stage and finding, if the view is not drawn.
    """

    def __init__(self, title: str, announce: Callable[[str], None] = lambda line: None) -> None:
        self.title = title
        self.announce = announce
        self.started = time.monotonic()
        self.stage = "services"
        self.notes: dict[str, str] = {}
        """Latest note on each stage, in the order in which the stages began."""
        self.search = SearchProgress()
        self.report_url: str | None = None
        """Address of the report of the job that ended last; None before any."""

    def _announce(self, what: str) -> None:
        self.announce(f"{time.monotonic() - self.started:6.1f} s  {what}")

    def on_service(self, name: str, seconds: float) -> None:
        """Notes that a service is ready, with the seconds it took."""
        self._announce(f"{name} is ready")
        self.notes["services"] = f"{self.notes.get('services', '')}  {name} {seconds:.0f} s".strip()

    def on_event(self, kind: str, event: Event) -> None:
        """Notes an event of a stage, given by its name."""
        if event.kind == "report":
            self.report_url = event.fields["url"]
            return
        if kind != self.stage:
            self._announce(kind)
        self.stage = kind
        fields = event.fields
        match event.kind:
            case "ingest" | "apply":
                self.notes[event.kind] = f"{fields['rows']:,} of {fields['total']:,} examples"
            case "search" | "trial":
                self.search.take(event)
                self.notes.setdefault("tune", "")
            case "epoch":
                self.notes["train"] = (
                    f"epoch {fields['epoch']}, validation loss {fields['validation_objective']:.2f} nats "
                    f"(best {fields['best_objective']:.2f}), {fields['examples_per_second']:,.0f} examples/s"
                )
            case "progress":
                self.notes["train"] = (
                    f"epoch {fields['epoch']}, step {fields['step']:,} of {fields['total_steps']:,}, "
                    f"{fields['examples_per_second']:,.0f} examples/s"
                )
            case "finding":
                self.notes["verdict so far"] = f"{fields['says']} Try: {fields['advice']}"
                self._announce(self.notes["verdict so far"])
            case "evaluate":
                self.notes["evaluate"] = fields["what"]
            case _:
                self.notes[kind] = event.kind

    def __rich__(self) -> RenderableType:
        """Draws the stages, and during a search its trials."""
        stages = Table.grid(padding=(0, 2))
        for stage, note in self.notes.items():
            mark = "[yellow]●[/]" if stage == self.stage else "[green]✓[/]"
            stages.add_row(mark, f"[bold]{stage}[/]", Text(self.search_note() if stage == "tune" else note))
        parts: list[RenderableType] = [stages]
        if self.stage == "tune" and self.search.stacks:
            parts.append(self.trial_table())
        seconds = time.monotonic() - self.started
        return Panel(Group(*parts), title=self.title, subtitle=f"{seconds:.0f} s", title_align="left")

    def search_note(self) -> str:
        """Returns the numbers of finished, running and further trials, with an estimate of the time left."""
        search = self.search
        done, running = len(search.stacks) - search.num_running, search.num_running
        rest = "" if search.seconds_left is None else f"; about {clock(search.seconds_left)} left"
        return f"{done} trials done, {running} running, {search.num_to_come} to come{rest}"

    def trial_table(self) -> Table:
        """Returns a table with a row for each trial: running ones first, then those that ended last."""
        table = Table("trial", "configuration", "lanes", "epoch", "bound (nats)", "steps/s", "left", "", box=None)
        stacks, plan = self.search.stacks, self.search.plan
        running = [stack for stack in stacks if stack.status == "running"]
        ended = [stack for stack in stacks if stack.status != "running"]
        for stack in [*running, *reversed(ended)][:MAX_TRIALS]:
            seconds = self.search.seconds_left_of(stack)
            table.add_row(
                stack.trial_id[-5:],
                ", ".join(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in stack.parameters.items()),
                f"{stack.num_alive}/{len(stack.lanes)}",
                f"{stack.epochs}/{plan.epochs}" if plan else str(stack.epochs),
                "" if stack.negative_bound is None else f"{stack.negative_bound:.2f}",
                "" if stack.steps_per_second is None else f"{stack.steps_per_second:,.1f}",
                "" if seconds is None else clock(seconds),
                stack.status,
            )
        return table


def clock(seconds: float) -> str:
    """Returns a duration as `1:05` (minutes and seconds) or `2:03:09` (with hours)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def watched(title: str, console: Console) -> Iterator[View]:
    """Draws a view while the block runs; on a console that is no terminal, prints a line for each stage."""
    if not console.is_terminal:
        yield View(title, announce=lambda line: console.print(line, highlight=False))
        return
    view = View(title)
    with Live(view, console=console, refresh_per_second=4, transient=True):
        yield view
