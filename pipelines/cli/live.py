"""Live view of a command in the terminal: its services, its stages, and the trials of a search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.cluster.progress import Meter, clock
from pipelines.cluster.runs import Event, position_of
from pipelines.cluster.search_progress import SearchProgress
from vae.progress import Progress, every, listening

MAX_TRIALS = 8
"""Most trials that the table shows."""
LINE_SECONDS = 9.0
"""Seconds without a line after which a view that is not drawn prints one."""
BAR_WIDTH = 24
"""Width of a bar in characters."""


class View:
    """State of a command, gathered from the events of its services and jobs.

    Args:
        title: Title of the drawn panel.
        announce: Called with a line for each stage and finding, if the view is not drawn.
    """

    def __init__(self, title: str, announce: Callable[[str], None] = lambda line: None) -> None:
        self.title = title
        self.announce = announce
        self.started = self.announced = time.monotonic()
        self.stage = ""
        self.stages: dict[str, Meter] = {}
        """Stages in the order in which they began."""
        self.ready = ""
        """Services that are ready, with the seconds they took."""
        self.verdict = ""
        """Finding on the training that goes on; empty without one."""
        self.search, self.planned_epochs = SearchProgress(0, 0), 0
        self.report_url: str | None = None
        """Address of the report of the job that ended last; None before any."""

        self.close: Callable[[], object] = lambda: None
        """Removes the drawn view from the terminal; does nothing for one that prints lines."""

    def _announce(self, what: str) -> None:
        self.announced = time.monotonic()
        self.announce(f"{self.announced - self.started:6.1f} s  {what}")

    def on_service(self, name: str, seconds: float) -> None:
        """Notes that a service is ready, with the seconds it took."""
        self._announce(f"{name} is ready")
        self.ready = ", ".join(filter(None, [self.ready, f"{name} after {seconds:.0f} s"]))

    def on_event(self, stage: str, event: Event) -> None:
        """Notes an event of a stage, given by its name."""
        fields = event.fields
        if (position := position_of(event)) is not None:
            self.on_progress(stage, position)
        match event.kind:
            case "trial":
                from tuning.frontier import Trial  # with PyTorch, for which the first line does not wait

                self.planned_epochs = fields["planned_epochs"]
                self.search.take(Trial(**{name: value for name, value in fields.items() if name != "planned_epochs"}))
            case "finding":
                self.verdict = f"verdict so far: {fields['says']} Try: {fields['advice']}"
                self._announce(self.verdict)
            case "report":
                self.report_url = fields["url"]
            case _:
                pass

    def on_progress(self, stage: str, position: Progress) -> None:
        """Notes the position of a stage. A stage that begins ends the one before."""
        if stage != self.stage:
            self.end_stage()
            self.stage = stage
            self.stages[stage] = Meter()
            self._announce(f"{stage}: {position.part}")
        self.stages[stage].take(position)

    def end_stage(self) -> None:
        """Ends the present stage."""
        if self.stage:
            meter = self.stages[self.stage]
            meter.end()
            self._announce(f"{self.stage}: done in {clock(meter.seconds)}")
        self.stage = ""

    def heartbeat(self) -> None:
        """Announces the position of the present stage if there was no line for `LINE_SECONDS`."""
        if time.monotonic() - self.announced >= LINE_SECONDS:
            self._announce(f"{self.stage}: {self.stages[self.stage].words()}" if self.stage else "loading libraries")

    def __rich__(self) -> RenderableType:
        """Draws the stages, and during a search its trials."""
        stages = Table.grid(padding=(0, 2))
        for stage, meter in list(self.stages.items()):
            if stage == self.stage:
                stages.add_row("[yellow]●[/]", f"[bold]{stage}[/]", drawn(meter))
            else:
                stages.add_row("[green]✓[/]", f"[bold]{stage}[/]", f"done in {clock(meter.seconds)}")
            if stage == "services" and self.ready:
                stages.add_row("", "", f"[dim]{self.ready}[/]")
        parts: list[RenderableType] = [stages, *filter(None, [self.verdict and Text(self.verdict)])]
        if self.stage == "tune" and self.search.stacks:
            parts.append(self.trial_table())
        seconds = time.monotonic() - self.started
        return Panel(Group(*parts), title=self.title, subtitle=clock(seconds), title_align="left")

    def trial_table(self) -> Table:
        """Returns a table with a row for each trial: running ones first, then those that ended last."""
        table = Table("trial", "configuration", "lanes", "epoch", "bound (nats)", "steps/s", "", box=None)
        stacks = self.search.stacks
        running = [stack for stack in stacks if stack.status == "running"]
        ended = [stack for stack in stacks if stack.status != "running"]
        for stack in [*running, *reversed(ended)][:MAX_TRIALS]:
            table.add_row(
                stack.trial_id[-5:],
                ", ".join(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in stack.parameters.items()),
                f"{stack.num_alive}/{len(stack.lanes)}",
                f"{stack.epochs}/{self.planned_epochs}",
                "" if stack.negative_bound is None else f"{stack.negative_bound:.2f}",
                "" if stack.steps_per_second is None else f"{stack.steps_per_second:,.1f}",
                stack.status,
            )
        return table


def drawn(meter: Meter) -> RenderableType:
    """Returns the position of a stage, with a bar if its part can be counted."""
    if meter.share is None:
        return Text(meter.words())
    bar = Table.grid(padding=(0, 2))
    counts = Text(", ".join(meter.figures()))
    bar.add_row(ProgressBar(total=1.0, completed=meter.share, width=BAR_WIDTH), f"{100 * meter.share:3.0f} %", counts)
    return Group(Text(meter.latest.part), bar, *filter(None, [meter.latest.note and Text(meter.latest.note, "dim")]))


@contextmanager
def watched(title: str, console: Console, stage: str = "services") -> Iterator[View]:
    """Draws a view while the block runs; on a console that is no terminal, prints a line for each stage and every 10 s.

    Reports of this process itself are those of a stage.
    """
    is_drawn = console.is_terminal
    view = View(title) if is_drawn else View(title, lambda line: console.print(line, highlight=False, soft_wrap=True))
    shown = (
        Live(view, console=console, refresh_per_second=4, transient=True) if is_drawn else every(0.5, view.heartbeat)
    )
    if isinstance(shown, Live):
        view.close = shown.stop
    with listening(lambda position: view.on_progress(stage, position)), shown:
        yield view
