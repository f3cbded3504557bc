"""What a view shows, and what a person takes away of it: pictures or a table, figures, files, a link, lines of Python."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TypeVar

import pandas as pd
from nicegui import ui

from pipelines.explorer import exports
from pipelines.explorer.asking import Call
from pipelines.explorer.looking import Panel, Shown
from pipelines.explorer.page.visit import REFUSED, Visit
from pipelines.explorer.page.widgets import Html, button, data_url

T = TypeVar("T")
COPY = "() => navigator.clipboard.writeText({}).catch(() => {{}})"


class Results:
    """The card of a view's answer.

    Args:
        visit: Whose answers to draw.
        title: Of the card.
        strip: Whether there are many panels, small and side by side.
        below: Draws what stands between the answer and what is taken away of it.
    """

    def __init__(self, visit: Visit, title: str, strip: bool = False, below: Callable[[], None] = lambda: None) -> None:
        self.visit = visit
        self.images: list[tuple[Html, Html]] = []
        with Html("div", classes="stack results"):
            with Html("section", classes="card answer", aria_label=title):
                Html("h2", title)
                self.refusal = Html("p", "", "refusal", role="alert")
                self.panels = Html("div", classes=f"panels{' strip' * strip}")
                self.figures = Html("dl", classes="figures", aria_live="polite")
            below()
            self.exports = Exports(
                visit,
                visit.view.name,
                "the answer",
                lambda: self._shown(exports.png_of),
                lambda: self._shown(exports.csv_of),
                lambda: visit.shown.call if visit.shown else None,
            )
        visit.on_shown.append(self.draw)
        visit.on_refused = lambda words: setattr(self.refusal, "text", words)

    def draw(self, shown: Shown) -> None:
        """Draws an answer; pictures that are there already only change."""
        flat = [panel for row in shown.panels for panel in row]
        if isinstance(flat[0].values, pd.DataFrame):
            self.panels.clear()
            with self.panels, Html("div", classes="scroll", tabindex=0, role="region", aria_label="values"):
                ui.html(table_of(flat), sanitize=False)
        else:
            self._draw_images(flat)
            self.panels.style(f"--columns: {len(shown.panels[0])}")
            self.panels.classes(**{"add" if len(shown.panels) > 1 else "remove": "grid"})
        self.figures.clear()
        with self.figures:
            for name, value in shown.figures:
                with Html("div"):
                    Html("dt", name)
                    Html("dd", value)
        self.exports.draw(shown.call)

    def _draw_images(self, flat: Sequence[Panel]) -> None:
        if len(self.images) != len(flat):
            self.panels.clear()
            with self.panels:
                self.images = [_figure() for _ in flat]
        for panel, (image, caption) in zip(flat, self.images, strict=True):
            _, height, width = panel.values.shape
            alt = f"{panel.name}: image of {width} by {height} pixels"
            image.set(src=data_url(panel.values / panel.white), alt=alt)
            caption.text = panel.name

    def _shown(self, export: Callable[[Shown], T]) -> T:
        assert self.visit.shown is not None, "the buttons come with the first answer"
        return export(self.visit.shown)


class Exports:
    """PNG, CSV, inputs, the link, and the three lines of Python."""

    def __init__(
        self,
        visit: Visit,
        name: str,
        words: str,
        png: Callable[[], bytes],
        csv: Callable[[], str],
        call: Callable[[], Call | None],
    ) -> None:
        self.visit, self.name, self.call = visit, name, call
        with Html("section", classes="card exports", aria_label=f"Take away: {name}"):
            Html("h2", f"Save {words}")
            with Html("div", classes="row"):
                button("PNG", lambda: self._save(png, "png"), aria_label="Save as PNG")
                button("CSV", lambda: self._save(csv, "csv"), aria_label="Save as CSV")
                self.inputs = button("", self._save_inputs)
                self.link = Html("a", "Link to this view", "button", href=visit.view.link)
            self.note = Html("p", "", "fine")
            with Html("details"):
                Html("summary", "The same in Python")
                self.code = Html("pre", "", "snippet", tabindex=0, aria_label="three lines of Python")
                copy = Html("button", "Copy", type="button")
                copy.on("click", js_handler=COPY.format(f"document.getElementById('c{self.code.id}').innerText"))

    def draw(self, call: Call) -> None:
        """Follows a new answer."""
        view = self.visit.view
        self.code.text = call.snippet()
        self.inputs.set_visibility(call.file_name is not None)
        self.inputs.text = call.file_name or ""
        self.inputs.set(aria_label=f"Save {call.file_name}, which the lines of Python read")
        self.link.set(href=view.link if view.shareable else None)
        self.note.text = "" if view.shareable else "This example is too large for a link; save the inputs instead."

    async def _save(self, export: Callable[[], bytes | str], kind: str) -> None:
        try:
            content = await self.visit.explorer.run(export)
        except REFUSED as error:
            self.note.text = str(error)
            return
        ui.download.content(content, f"{self.name}.{kind}")

    async def _save_inputs(self) -> None:
        if (call := self.call()) is not None and call.file_name:
            ui.download.content(await self.visit.explorer.run(call.file), call.file_name)


def table_of(panels: Sequence[Panel]) -> str:
    """Panels of a table side by side, as HTML; every text in it is escaped."""
    frame = exports.beside(panels)
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in frame.columns)
    lines = []
    for name, values in frame.iterrows():
        cells = (exports.cell_text(value) for value in values)
        written = "".join(f"<td>{html.escape(c)}</td>" if c else '<td class="gap">missing</td>' for c in cells)
        lines.append(f'<tr><th scope="row">{html.escape(str(name))}</th>{written}</tr>')
    return f'<table><thead><tr><th scope="col">column</th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _figure() -> tuple[Html, Html]:
    with Html("figure"):
        return Html("img"), Html("figcaption")
