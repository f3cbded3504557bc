"""The latent view: a map of the latent space to pick places on, sliders of its dimensions, and the decoded example."""

from __future__ import annotations

from typing import Any

from nicegui import background_tasks

from pipelines.explorer.looking import Shown, output_of
from pipelines.explorer.mapping import Map, chart
from pipelines.explorer.page.chooser import add_condition
from pipelines.explorer.page.results import Exports, Results
from pipelines.explorer.page.visit import REFUSED, Latest, Visit
from pipelines.explorer.page.widgets import Field, Html, Scatter, button, card

SLIDERS = 8
"""Dimensions with a slider, the most informative first."""
REACH = 4.0
"""Reach of a slider, in standard deviations of N(0, 1)."""
HINT = "Pick an example or any place between: with a click, or with the arrow keys and Enter."
NO_MAP = "The training data of this model is out of reach, so there is no map. The sliders work."
OUTPUTS = [("mean", "the mean"), ("sample", "a draw by the seed")]


async def build(visit: Visit) -> None:
    """Adds the cards of the view."""
    drawn = None
    try:
        drawn = await visit.explorer.run(chart, visit.view, visit.subject)
    except REFUSED as error:
        Html("p", str(error), "refusal wide", role="alert")
    _Page(visit, drawn)


class _Page:
    """Cards of a visit, and the map that they show; None for a model without rows."""

    def __init__(self, visit: Visit, drawn: Map | None) -> None:
        self.visit, self.chart = visit, drawn
        self.drawn = self._asked
        self.draw_again = Latest(self._draw_again)
        self.start: tuple[str, str, float] | None = None
        with Html("div", classes="stack"):
            self._map_card()
        Results(visit, "Decoded", below=self._dimensions_card)
        if drawn is not None:
            self._draw_map(drawn)
        visit.on_shown.append(self._follow)

    def _map_card(self) -> None:
        with card("Map of the latent space", "card"):
            Html("p", NO_MAP if self.chart is None else HINT, "fine")
            self.map = Html("div")
            if self.chart is not None:
                options = [(str(dimension), f"z{dimension}") for dimension in self.chart.codes.order]
                with Html("div", classes="row"):
                    self.visit.field("select", "Across", "across", options, str(self.chart.across))
                    self.visit.field("select", "Up", "up", options, str(self.chart.up))
        if self.chart is not None:
            self.exports = Exports(self.visit, "map", "the map", lambda: self.chart)

    def _dimensions_card(self) -> None:
        with card("Dimensions"):
            if self.chart is not None and self.chart.codes.in_nats:
                words = "The most informative first, each with its mean KL to the prior over the examples of the map."
                Html("p", words, "fine")
            self.sliders = self._sliders()
            add_condition(self.visit)
            output = output_of(self.visit.view, self.visit.subject)
            self.visit.field("select", "Decode to", "output", OUTPUTS, output)
            with Html("div", classes="row"):
                button("Undo moves", lambda: self.visit.change(moved=()))
                button("To the origin", lambda: self.visit.change(moved=(), x=""))

    def _sliders(self) -> dict[int, Field]:
        order = self.chart.codes.order if self.chart else range(self.visit.subject.model.config.latent_dim)
        return {
            dimension: Field(
                "range", f"z{dimension}", 0.0, lambda value, d=dimension: self._move({d: value}),
                min=-REACH, max=REACH, step=0.01, note=self._note(dimension),
            )
            for dimension in list(order)[:SLIDERS]
        }  # fmt: skip

    def _note(self, dimension: int) -> str:
        return f"{self.chart.codes.carried[dimension]:.2f} nats" if self.chart and self.chart.codes.in_nats else ""

    async def _move(self, changes: dict[int, float]) -> None:
        moved = dict(self.visit.view.moved) | {d: round(float(value), 2) for d, value in changes.items()}
        await self.visit.change(moved=tuple(sorted(moved.items())))

    async def _pick(self, place: dict[str, Any]) -> None:
        assert self.chart is not None
        if place["row"] is not None:
            await self.visit.change(x=f"row:{place['row']}", moved=())
        else:
            await self._move({self.chart.across: place["x"], self.chart.up: place["y"]})

    def _follow(self, shown: Shown) -> None:
        """Moves map and sliders to the shown latent; a slider that a person holds stays."""
        z_L, view = shown.call.inputs[0], self.visit.view
        here = (view.x, view.condition, view.beta)
        for dimension, slider in self.sliders.items():
            if here != self.start or dimension not in dict(view.moved):
                slider.reset(float(z_L[dimension]))
        self.start = here
        self._mark()
        if self.chart is not None and self._asked != self.drawn:
            self.drawn = self._asked
            background_tasks.create(self.draw_again())

    @property
    def _asked(self) -> tuple[Any, ...]:
        """Fields of the view that the map depends on."""
        view = self.visit.view
        return view.seed, view.across, view.up, view.beta

    async def _draw_again(self) -> None:
        try:
            drawn = await self.visit.explorer.run(chart, self.visit.view, self.visit.subject)
        except REFUSED as error:
            self.visit.on_refused(str(error))
            return
        assert drawn is not None, "a model keeps its rows"
        self._draw_map(drawn)
        self._mark()

    def _mark(self) -> None:
        """Marks the shown latent on the map."""
        if self.chart is not None and self.visit.shown is not None:
            z_L = self.visit.shown.call.inputs[0]
            self.scatter.props["mark"] = [float(z_L[self.chart.across]), float(z_L[self.chart.up])]

    def _draw_map(self, drawn: Map) -> None:
        self.chart, codes = drawn, drawn.codes
        classes = sorted(set(codes.classes or ()))
        points = [
            [round(float(x), 3), round(float(y), 3), row, classes.index(codes.classes[n]) if codes.classes else 0]
            for n, (row, (x, y)) in enumerate(zip(codes.rows, drawn.points, strict=True))
        ]
        across, up = f"z{drawn.across}", f"z{drawn.up}"
        self.map.clear()
        with self.map:
            self.scatter = Scatter()
            self.scatter.props.update(
                points=points, classes=classes, mark=[0.0, 0.0], across=across, up=up,
                extent=max(1.0, float(abs(drawn.points).max()) * 1.15),
                label=f"{len(points)} examples at {across} and {up}; arrow keys move the crosshair, Enter decodes there",
            )  # fmt: skip
            self.scatter.on("pick", lambda event: self._pick(event.args))
            if any(len(name) > 2 for name in classes):
                with Html("ul", classes="legend"):
                    for n, name in enumerate(classes):
                        Html("li", name, style=f"color: oklch(var(--point) 0.15 {n * 360 / len(classes)})")
        for dimension, slider in self.sliders.items():
            slider.props["note"] = self._note(dimension)
        self.exports.draw()
