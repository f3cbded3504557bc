"""Choice of an example, which is a row of the data or an own file, and of its condition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nicegui import events, ui

from pipelines.explorer.given import example_of
from pipelines.explorer.kinds import MOST_BYTES
from pipelines.explorer.looking import another, offered
from pipelines.explorer.page.visit import REFUSED, Visit
from pipelines.explorer.page.widgets import Field, Html, as_url, button, card, toggle
from pipelines.explorer.views import Path

OFFERED = 12


class Chooser:
    """A card with rows to choose from, and an upload.

    Args:
        visit: Visit whose view is changed.
        title: Title of the card.
        field: Field of the view that holds the example.
        also: Returns other fields of the view that change with a choice.
    """

    def __init__(
        self, visit: Visit, title: str, field: str = "x", also: Callable[[str], dict[str, Any]] = lambda x: {}
    ) -> None:
        self.visit, self.field, self.also = visit, field, also
        self.buttons: dict[str, Html] = {}
        self.row: Field | None = None
        self.followed, self.seed = "", -1
        with card(title):
            self.thumbs = Html("div", classes="thumbs", role="group", aria_label="rows of the data")
            with Html("div", classes="row"):
                self._row_field()
                self._upload()
                self.of_file = Html("div")
            self.note = Html("p", "", "fine", role="status")
        self.draw()
        visit.on_shown.append(lambda _: self.draw())

    def draw(self) -> None:
        """Shows the rows that the seed offers, and the chosen one."""
        if self.visit.view.seed != self.seed:
            self.seed = self.visit.view.seed
            self._offer()
        for x, choice in self.buttons.items():
            toggle(choice, x == self._x)
        if self.row is not None and self._x != self.followed:
            self.followed = self._x
            self.row.reset(self._x.removeprefix("row:") if self._x.startswith("row:") else "")

    @property
    def _x(self) -> str:
        if x := getattr(self.visit.view, self.field):
            return x
        if self.field == "x":
            return "row:0"
        return another(self.visit.subject) if isinstance(self.visit.view, Path) else ""

    def _offer(self) -> None:
        subject, self.buttons = self.visit.subject, {}
        rows, classes = offered(self.visit.view, subject, OFFERED), subject.rows.classes if subject.rows else None
        self.thumbs.clear()
        self.thumbs.set_visibility(bool(rows))
        with self.thumbs:
            for number in rows:
                x, label = f"row:{number}", f"row {number}{f', {classes[number]}' if classes else ''}"
                picture = subject.kind.thumbnail(example_of(subject, x).values)
                text = str(number) if picture is None else ""
                self.buttons[x] = button(text, lambda x=x: self.choose(x), aria_label=label, title=label)
                if picture is not None:
                    with self.buttons[x]:
                        Html("img", src=as_url(picture), alt="")

    def _row_field(self) -> None:
        if (rows := self.visit.subject.rows) is not None:
            last, choose = len(rows) - 1, lambda text: self.choose(f"row:{text}")
            self.row = Field("number", f"Row, 0 to {last}", "", choose, min=0, max=last, step=1)

    def _upload(self) -> None:
        kind = self.visit.subject.kind
        upload = ui.upload(
            auto_upload=True, on_upload=self._uploaded, on_rejected=self._rejected, max_file_size=MOST_BYTES
        ).props(f'accept="{kind.accepts}"')
        upload.style("display: none")  # an element that NiceGUI hides takes no files
        button(kind.upload, lambda: upload.run_method("pickFiles"))

    async def choose(self, x: str) -> None:
        """Takes another example."""
        self.note.text = ""
        self.of_file.clear()
        await self._change(x)

    async def _change(self, x: str) -> None:
        await self.visit.change(**{self.field: x, **self.also(x)})

    async def _uploaded(self, event: events.UploadEventArguments) -> None:
        name, data = event.file.name[:80], await event.file.read()
        if (num_rows := await self._take(name, data)) is None:
            return
        event.sender.run_method("reset")
        self.of_file.clear()
        if num_rows > 1:
            last = num_rows - 1
            label = f"Row of the file, 0 to {last:,}"
            with self.of_file:
                Field("number", label, "0", lambda text: self._take(name, data, text), min=0, max=last, step=1)

    async def _take(self, name: str, data: bytes, row: str = "0") -> int | None:
        """Takes the content of a file, one row for a table; returns its number of rows, or None if it is refused."""
        subject = self.visit.subject
        try:
            content = await self.visit.explorer.run(subject.kind.content, subject, data, row)
        except REFUSED as error:
            self.note.text = f"{name}: {error}"
            return None
        await self._change(content.x)
        self.note.text = f"{name}, {content.words}"
        return content.num_rows

    def _rejected(self) -> None:
        self.note.text = f"This is no {self.visit.subject.kind.file}, or it has more than {MOST_BYTES >> 20} MiB."


def add_condition(visit: Visit) -> None:
    """Adds fields for the condition and β, for models that take them."""
    subject = visit.subject
    if subject.conditions:
        options = [("", "its own, or the likeliest"), *((name, name) for name in subject.conditions)]
        visit.field("select", "Condition", "condition", options)
    elif subject.model.conditions:
        visit.field("text", "Condition", "condition", placeholder=subject.any_condition)
    if subject.model.config.beta_gates and visit.view.name != "rate":
        add_beta(visit)


def add_beta(visit: Visit) -> None:
    """Adds a slider for β over three powers of ten."""
    Field(
        "range", "β", math.log10(visit.view.beta), lambda value: visit.change(beta=round(10**value, 4)),
        min=-1.5, max=1.5, step=0.01, logarithmic=True,
    )  # fmt: skip
