"""The choice of an example: a row of the data, or a file of one's own; and of what the model is told of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from nicegui import events, ui

from pipelines.explorer.given import MOST_BYTES, example_of, read_image, read_row, write_image, write_row
from pipelines.explorer.looking import another, offered
from pipelines.explorer.models import Subject
from pipelines.explorer.page.visit import REFUSED, Visit
from pipelines.explorer.page.widgets import Field, Html, as_url, button, toggle
from pipelines.explorer.views import Path

OFFERED, MOST_DIGITS = 12, 10


class Chooser:
    """A card with rows to choose from, and an upload.

    Args:
        visit: What changes.
        title: Of the card.
        field: The view's field that holds the example.
        also: What else of the view changes when one is chosen.
    """

    def __init__(
        self, visit: Visit, title: str, field: str = "x", also: Callable[[str], dict[str, Any]] = lambda x: {}
    ) -> None:
        self.visit, self.field, self.also = visit, field, also
        self.buttons: dict[str, Html] = {}
        self.row: Field | None = None
        self.followed = ""
        with Html("section", classes="card stack", aria_label=title):
            Html("h2", title)
            self.thumbs = Html("div", classes="thumbs", role="group", aria_label="rows of the data")
            with Html("div", classes="row"):
                self._row_field()
                self._upload()
                self.of_file = Html("div")
            self.note = Html("p", "", "fine", role="status")
        self.seed = -1
        self.draw()
        visit.on_shown.append(lambda _: self.draw())

    def draw(self) -> None:
        """Shows which rows the seed offers, and which is chosen."""
        if self.visit.view.seed != self.seed:
            self.seed = self.visit.view.seed
            self._offer()
        for x, made in self.buttons.items():
            toggle(made, x == self._x)
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
        rows, given = offered(self.visit.view, subject, OFFERED), subject.rows
        self.thumbs.clear()
        self.thumbs.set_visibility(bool(rows))
        with self.thumbs:
            for number in rows:
                named = f"row {number}{f', {given.classes[number]}' if given and given.classes else ''}"
                text = str(number) if subject.is_table else ""
                made = button(text, lambda x=f"row:{number}": self.choose(x), aria_label=named, title=named)
                self.buttons[f"row:{number}"] = made
                if not subject.is_table:
                    with made:
                        Html("img", src=as_url(example_of(subject, f"row:{number}").values[0]), alt="")

    def _row_field(self) -> None:
        rows = self.visit.subject.rows
        if rows is not None:
            x = getattr(self.visit.view, self.field)
            number = x.partition(":")[2] if x.startswith("row:") else ""
            last = len(rows) - 1
            self.row = Field(
                "number", f"Row, 0 to {last}", number, lambda text: self.choose(f"row:{text}"), min=0, max=last, step=1
            )

    def _upload(self) -> None:
        upload = ui.upload(
            auto_upload=True, on_upload=self._uploaded, on_rejected=self._rejected, max_file_size=MOST_BYTES
        ).props(f'accept="{".csv,.tsv,.txt,text/csv" if self.visit.subject.is_table else "image/*"}"')
        upload.style("display: none")  # an element that NiceGUI hides takes no files
        words = "Upload a row as CSV" if self.visit.subject.is_table else "Upload an image"
        button(words, lambda: upload.run_method("pickFiles"))

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
        """Takes what a file holds, of a table one row; returns how many there are, None where it is refused."""
        try:
            given = await self.visit.explorer.run(_given, self.visit.subject, data, row)
        except REFUSED as error:
            self.note.text = f"{name}: {error}"
            return None
        await self._change(given.x)
        self.note.text = f"{name}, {given.words}"
        return given.num_rows

    def _rejected(self) -> None:
        kind = "CSV file" if self.visit.subject.is_table else "image"
        self.note.text = f"That is no {kind}, or has more than {MOST_BYTES >> 20} MiB."


class _Given(NamedTuple):
    """What a file holds."""

    x: str
    """For a link."""
    words: str
    """What to say of it."""
    num_rows: int = 1


def _given(subject: Subject, data: bytes, row: str) -> _Given:
    if subject.is_table:
        number = int(row) if row.isdecimal() and len(row) < MOST_DIGITS else -1
        found, num_rows = read_row(subject, data, number)
        return _Given(write_row(found), "its row" if num_rows == 1 else f"its row {number}", num_rows)
    image = read_image(subject, data)
    _, _, height, width = image.shape
    return _Given(write_image(image), f"as the model takes it: {width} × {height} pixels")


def told(visit: Visit) -> None:
    """Fields for what the model is told: its condition, and β."""
    view, subject = visit.view, visit.subject
    if subject.conditions:
        options = [("", "its own, or the likeliest"), *((name, name) for name in subject.conditions)]
        Field("select", "Condition", view.condition, lambda chosen: visit.change(condition=chosen), options)
    elif subject.model.conditions:
        example = subject.any_condition
        Field("text", "Condition", view.condition, lambda text: visit.change(condition=text), placeholder=example)
    if subject.model.config.beta_gates and view.name != "rate":
        beta(visit)


def beta(visit: Visit) -> Field:
    """A slider over three powers of ten."""
    return Field(
        "range", "β", math.log10(visit.view.beta), lambda value: visit.change(beta=round(10**value, 4)),
        min=-1.5, max=1.5, step=0.01, logarithmic=True,
    )  # fmt: skip
