"""A map of the latent to pick places on, sliders of its dimensions, and what they decode to."""

from __future__ import annotations

from typing import Any

from pipelines.explorer import exports
from pipelines.explorer.looking import Shown
from pipelines.explorer.mapping import Map, chart
from pipelines.explorer.page.chooser import told
from pipelines.explorer.page.results import Exports, Results
from pipelines.explorer.page.visit import REFUSED, Visit
from pipelines.explorer.page.widgets import Field, Html, Scatter, button
from pipelines.explorer.views import Latent

SLIDERS = 8
"""Dimensions that get one, the most informative first."""
REACH = 4.0
"""Of a slider, in standard deviations of N(0, 1)."""


def build(visit: Visit) -> None:
    """The view's cards."""
    _Page(visit)


class _Page:
    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.found: Map | None = None
        self.drawn: tuple[Any, ...] = ()
        self.start: tuple[str, str, float] | None = None
        try:
            self.found = chart(self._view, visit.subject)
        except REFUSED as error:
            Html("p", str(error), "refusal wide", role="alert")
        with Html("div", classes="stack"):
            self._map_card()
        with Html("div", classes="stack"):
            self.results = Results(visit, "Decoded")
            self._dimensions_card()
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
                self.visit, "map", self._png, self._csv, lambda: self.found.call if self.found else None
            )

    def _dimensions_card(self) -> None:
        visit, view = self.visit, self._view
        with Html("section", classes="card stack", aria_label="Dimensions"):
            Html("h2", "Dimensions")
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
        options = [(str(dimension), f"z{dimension}") for dimension in self.found.order]
        with Html("div", classes="row"):
            Field("select", "Across", str(self.found.across), lambda chosen: self._turn(across=chosen), options)
            Field("select", "Up", str(self.found.up), lambda chosen: self._turn(up=chosen), options)

    async def _turn(self, **axes: str) -> None:
        await self.visit.change(**axes)

    def _sliders(self) -> dict[int, Field]:
        latent_dim = self.visit.subject.model.config.latent_dim
        order = self.found.order if self.found else range(latent_dim)
        return {
            dimension: Field(
                "range", f"z{dimension}", 0.0, lambda value, d=dimension: self.visit.change(moved=self._moved({d: value})),
                min=-REACH, max=REACH, step=0.01,
            )
            for dimension in list(order)[:SLIDERS]
        }  # fmt: skip

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
        drawn = (view.seed, view.across, view.up, view.beta)
        if self.found is not None:
            if drawn != self.drawn:
                self.drawn = drawn
                self._draw_map()
            self.scatter.props["mark"] = [float(z_L[self.found.across]), float(z_L[self.found.up])]

    def _draw_map(self) -> None:
        self.found = chart(self._view, self.visit.subject)
        assert self.found is not None, "rows do not go away"
        found, classes = self.found, sorted(set(self.found.classes or ()))
        extent = max(1.0, float(abs(found.points).max()) * 1.15)
        points = [
            [round(float(x), 3), round(float(y), 3), row, classes.index(found.classes[n]) if found.classes else 0]
            for n, (row, (x, y)) in enumerate(zip(found.rows, found.points, strict=True))
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
        self.exports.draw(found.call)

    def _png(self) -> bytes:
        assert self.found is not None
        return exports.png_of_map(self.found)

    def _csv(self) -> str:
        assert self.found is not None
        return exports.csv_of_map(self.found)
