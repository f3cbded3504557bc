"""A map of the latent to pick places on, sliders of its dimensions, and what they decode to."""

from __future__ import annotations

from typing import Any

from nicegui import background_tasks

from pipelines.explorer import exports
from pipelines.explorer.looking import Shown
from pipelines.explorer.mapping import Map, chart
from pipelines.explorer.page.chooser import told
from pipelines.explorer.page.results import Exports, Results
from pipelines.explorer.page.visit import REFUSED, Latest, Visit
from pipelines.explorer.page.widgets import Field, Html, Scatter, button
from pipelines.explorer.views import Latent

SLIDERS = 8
"""Dimensions that get one, the most informative first."""
REACH = 4.0
"""Of a slider, in standard deviations of N(0, 1)."""


async def build(visit: Visit) -> None:
    """The view's cards."""
    assert isinstance(visit.view, Latent)
    found = None
    try:
        found = await visit.explorer.run(chart, visit.view, visit.subject)
    except REFUSED as error:
        Html("p", str(error), "refusal wide", role="alert")
    _Page(visit, found)


class _Page:
    def __init__(self, visit: Visit, found: Map | None) -> None:
        self.visit, self.found = visit, found
        self.drawn = self._asked
        self.draw_again = Latest(self._draw_again)
        self.start: tuple[str, str, float] | None = None
        with Html("div", classes="stack"):
            self._map_card()
        self.results = Results(visit, "Decoded", below=self._dimensions_card)
        if found is not None:
            self._draw_map(found)
        visit.on_shown.append(self._follow)

    def _map_card(self) -> None:
        with Html("section", classes="card", aria_label="Map of the latent"):
            Html("h2", "Map of the latent")
            Html("p", self._hint(), "fine")
            self.map = Html("div")
            if self.found is not None:
                self._axes()
        if self.found is not None:
            self.exports = Exports(
                self.visit,
                "map",
                "the map",
                self._png,
                self._csv,
                lambda: self.found.codes.call if self.found else None,
            )

    def _dimensions_card(self) -> None:
        visit, view = self.visit, self._view
        with Html("section", classes="card stack", aria_label="Dimensions"):
            Html("h2", "Dimensions")
            if self.found is not None and self.found.codes.in_nats:
                Html(
                    "p",
                    "The most informative first, with its KL to the prior: the mean over the map's examples.",
                    "fine",
                )
            self.sliders = self._sliders()
            told(visit)
            Field(
                "select", "Decode to", view.output, lambda chosen: visit.change(output=chosen),
                [("mean", "what is expected"), ("sample", "a draw, by the seed")],
            )  # fmt: skip
            with Html("div", classes="row"):
                button("Undo moves", lambda: visit.change(moved=()))
                button("To the origin", lambda: visit.change(moved=(), x=""))

    @property
    def _view(self) -> Latent:
        assert isinstance(self.visit.view, Latent)
        return self.visit.view

    def _hint(self) -> str:
        if self.found is None:
            return (
                "The rows that this model learned from are out of reach, so there is nothing to draw; the sliders work."
            )
        return "Pick an example or any place between: with a click, or with the arrow keys and Enter."

    def _axes(self) -> None:
        assert self.found is not None
        options = [(str(dimension), f"z{dimension}") for dimension in self.found.codes.order]
        with Html("div", classes="row"):
            Field("select", "Across", str(self.found.across), lambda chosen: self.visit.change(across=chosen), options)
            Field("select", "Up", str(self.found.up), lambda chosen: self.visit.change(up=chosen), options)

    def _sliders(self) -> dict[int, Field]:
        latent_dim = self.visit.subject.model.config.latent_dim
        order = self.found.codes.order if self.found else range(latent_dim)
        return {
            dimension: Field(
                "range", f"z{dimension}", 0.0, lambda value, d=dimension: self.visit.change(moved=self._moved({d: value})),
                min=-REACH, max=REACH, step=0.01, note=self._note(dimension),
            )
            for dimension in list(order)[:SLIDERS]
        }  # fmt: skip

    def _note(self, dimension: int) -> str:
        return f"{self.found.codes.carried[dimension]:.2f} nats" if self.found and self.found.codes.in_nats else ""

    def _moved(self, changes: dict[int, float]) -> tuple[tuple[int, float], ...]:
        moved = {**dict(self._view.moved), **{d: round(float(value), 2) for d, value in changes.items()}}
        return tuple(sorted(moved.items()))

    async def _pick(self, place: dict[str, Any]) -> None:
        assert self.found is not None
        if place["row"] is not None:
            await self.visit.change(x=f"row:{place['row']}", moved=())
        else:
            await self.visit.change(moved=self._moved({self.found.across: place["x"], self.found.up: place["y"]}))

    def _follow(self, shown: Shown) -> None:
        """Brings map and sliders to where the latent is now; a slider that a person holds is left to them."""
        z_L = shown.call.inputs[0]
        view = self._view
        here = (view.x, view.condition, view.beta)
        for dimension, slider in self.sliders.items():
            if here != self.start or dimension not in dict(view.moved):
                slider.reset(float(z_L[dimension]))
        self.start = here
        if self.found is not None:
            self._mark()
            if self._asked != self.drawn:
                self.drawn = self._asked
                background_tasks.create(self.draw_again())

    @property
    def _asked(self) -> tuple[Any, ...]:
        """What of the view the map depends on."""
        return self._view.seed, self._view.across, self._view.up, self._view.beta

    async def _draw_again(self) -> None:
        try:
            found = await self.visit.explorer.run(chart, self._view, self.visit.subject)
        except REFUSED as error:
            self.visit.on_refused(str(error))
            return
        assert found is not None, "rows do not go away"
        self.found = found
        self._draw_map(found)
        self._mark()

    def _mark(self) -> None:
        """Shows on the map where the latent is."""
        if self.found is not None and self.visit.shown is not None:
            z_L = self.visit.shown.call.inputs[0]
            self.scatter.props["mark"] = [float(z_L[self.found.across]), float(z_L[self.found.up])]

    def _draw_map(self, found: Map) -> None:
        codes = found.codes
        classes = sorted(set(codes.classes or ()))
        extent = max(1.0, float(abs(found.points).max()) * 1.15)
        points = [
            [round(float(x), 3), round(float(y), 3), row, classes.index(codes.classes[n]) if codes.classes else 0]
            for n, (row, (x, y)) in enumerate(zip(codes.rows, found.points, strict=True))
        ]
        self.map.clear()
        with self.map:
            self.scatter = Scatter()
            across, up = f"z{found.across}", f"z{found.up}"
            label = f"{len(points)} examples at {across} and {up}; arrow keys move the crosshair, Enter decodes there"
            self.scatter.props.update(
                points=points, classes=classes, mark=[0.0, 0.0], extent=extent, across=across, up=up, label=label
            )
            self.scatter.on("pick", lambda event: self._pick(event.args))
            if any(len(name) > 2 for name in classes):
                with Html("ul", classes="legend"):
                    for n, name in enumerate(classes):
                        Html("li", name, style=f"color: oklch(var(--point) 0.15 {n * 360 / len(classes)})")
        for dimension, slider in self.sliders.items():
            slider.props["note"] = self._note(dimension)
        self.exports.draw(codes.call)

    def _png(self) -> bytes:
        assert self.found is not None
        return exports.png_of(self.found)

    def _csv(self) -> str:
        assert self.found is not None
        return exports.csv_of(self.found)
