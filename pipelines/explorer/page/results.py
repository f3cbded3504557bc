"""Answer of a view on the page, and its exports: pictures or a table, numbers, files, a link, and lines of Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicegui import ui

from pipelines.explorer import exports
from pipelines.explorer.kinds import Panel
from pipelines.explorer.looking import Shown
from pipelines.explorer.mapping import Map
from pipelines.explorer.page.visit import REFUSED, Visit
from pipelines.explorer.page.widgets import Html, button, card, data_url

COPY = "() => navigator.clipboard.writeText({}).catch(() => {{}})"


class Results:
    """The card of a view's answer.

    Args:
        visit: Visit whose answers are drawn.
        title: Title of the card.
        strip: True for many small panels side by side; False by default.
        below: Draws cards between the answer and its exports.
    """

    def __init__(self, visit: Visit, title: str, strip: bool = False, below: Callable[[], None] = lambda: None) -> None:
        self.visit = visit
        self.images: list[tuple[Html, Html]] = []
        with Html("div", classes="stack results"):
            with card(title, "card answer"):
                self.refusal = Html("p", "", "refusal", role="alert")
                self.panels = Html("div", classes=f"panels{' strip' * strip}")
                self.numbers = Html("dl", classes="numbers", aria_live="polite")
            below()
            self.exports = Exports(visit, visit.view.name, "the answer", lambda: visit.shown)
        visit.on_shown.append(self.draw)
        visit.on_refused = lambda words: setattr(self.refusal, "text", words)

    def draw(self, shown: Shown) -> None:
        """Draws an answer; pictures that exist already only change."""
        if (html := shown.kind.html(shown.flat)) is not None:
            self.panels.clear()
            with self.panels, Html("div", classes="scroll", tabindex=0, role="region", aria_label="values"):
                ui.html(html, sanitize=False)
        else:
            self._draw_images(shown.flat)
            self.panels.style(f"--columns: {len(shown.panels[0])}")
            self.panels.classes(**{"add" if len(shown.panels) > 1 else "remove": "grid"})
        self.numbers.clear()
        with self.numbers:
            for name, value in shown.numbers:
                with Html("div"):
                    Html("dt", name)
                    Html("dd", value)
        self.exports.draw()

    def _draw_images(self, panels: Sequence[Panel]) -> None:
        if len(self.images) != len(panels):
            self.panels.clear()
            with self.panels:
                self.images = [_figure() for _ in panels]
        for panel, (image, caption) in zip(panels, self.images, strict=True):
            _, height, width = panel.values.shape
            alt = f"{panel.name}: image of {width} by {height} pixels"
            image.set(src=data_url(panel.values / panel.white), alt=alt)
            caption.text = panel.name


class Exports:
    """PNG, CSV, inputs, link and three lines of Python for an answer or a map.

    Args:
        visit: Visit whose view the link leads to.
        name: Name of the files.
        words: The thing that is saved, in words.
        current: Returns it; None before the first answer.
    """

    def __init__(self, visit: Visit, name: str, words: str, current: Callable[[], Shown | Map | None]) -> None:
        self.visit, self.name, self.current = visit, name, current
        with card(f"Save {words}", "card exports"):
            with Html("div", classes="row"):
                button("PNG", lambda: self._save(exports.png_of, "png"), aria_label="Save as PNG")
                button("CSV", lambda: self._save(exports.csv_of, "csv"), aria_label="Save as CSV")
                self.inputs = button("", self._save_inputs)
                self.link = Html("a", "Link to this view", "button", href=visit.view.link)
            self.note = Html("p", "", "fine")
            with Html("details"):
                Html("summary", "The same in Python")
                self.code = Html("pre", "", "snippet", tabindex=0, aria_label="three lines of Python")
                copy = Html("button", "Copy", type="button")
                copy.on("click", js_handler=COPY.format(f"document.getElementById('c{self.code.id}').innerText"))

    def draw(self) -> None:
        """Follows a new answer."""
        if (shown := self.current()) is None:
            return
        view, call = self.visit.view, shown.call
        self.code.text = call.snippet()
        self.inputs.set_visibility(call.file_name is not None)
        self.inputs.text = call.file_name or ""
        self.inputs.set(aria_label=f"Save {call.file_name}, which the lines of Python read")
        self.link.set(href=view.link if view.shareable else None)
        self.note.text = "" if view.shareable else "This example is too large for a link; save the inputs instead."

    async def _save(self, export: Callable[[Shown | Map], bytes | str], kind: str) -> None:
        try:
            content = await self.visit.explorer.run(export, self.current())
        except REFUSED as error:
            self.note.text = str(error)
            return
        ui.download.content(content, f"{self.name}.{kind}")

    async def _save_inputs(self) -> None:
        if (shown := self.current()) is not None and shown.call.file_name:
            ui.download.content(await self.visit.explorer.run(shown.call.file), shown.call.file_name)


def _figure() -> tuple[Html, Html]:
    with Html("figure"):
        return Html("img"), Html("figcaption")
