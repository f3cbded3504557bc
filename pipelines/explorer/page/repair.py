"""An example that a person draws, makes noisy, or takes parts of away, and what the model makes of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from pipelines.explorer.given import (
    example_of,
    from_data_url,
    read_holes,
    read_image,
    with_cells,
    write_cells,
    write_holes,
    write_image,
)
from pipelines.explorer.looking import Shown
from pipelines.explorer.page.chooser import Chooser, told
from pipelines.explorer.page.results import Results
from pipelines.explorer.page.visit import REFUSED, Visit
from pipelines.explorer.page.widgets import Field, Html, Painter, as_url, button, toggle
from pipelines.explorer.views import Repair
from vae.data.schema import Column

TASKS = [("reconstruct", "reconstruct"), ("denoise", "remove noise"), ("impute", "fill in what is missing")]
WHITE = "#ffffff"


def build(visit: Visit) -> None:
    """The view's cards."""
    view = visit.view
    assert isinstance(view, Repair)
    with Html("div", classes="stack"):
        with Html("section", classes="card stack", aria_label="Task"):
            Html("h2", "Task")
            can = [(task, words) for task, words in TASKS if visit.subject.abilities[task] is None]
            task = Field("select", "The model is to", view.do, lambda chosen: visit.change(do=chosen), can)
            # A rubber, or an emptied cell, asks for more than a reconstruction.
            visit.on_shown.append(lambda _: task.reset(visit.view.model_dump()["do"]))
            if not visit.subject.is_table:
                Field(
                    "range", "Noise added", view.noise, lambda value: visit.change(noise=value), min=0, max=1, step=0.01
                )
            Field("number", "Draws", view.draws, lambda text: visit.change(draws=text), min=1, max=5000, step=1)
            told(visit)
            if refusal := visit.subject.abilities["impute"]:
                Html("p", f"Nothing can be filled in: {refusal}.", "fine")
        if visit.subject.is_table:
            Chooser(visit, "Row", also=lambda x: {"cells": ""} | _asked_by(visit, x))
            _Cells(visit)
        else:
            _Drawing(visit)
            Chooser(visit, "Example")
    Results(visit, "Answer")


def written(value: Any) -> str:
    """Returns a cell as a person would write it: a number's shortest decimals, 12 digits at most; empty where missing."""
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float | np.floating):
        return np.format_float_positional(value, precision=12, fractional=False, trim="-")
    return str(value)


def _asked_by(visit: Visit, x: str) -> dict[str, Any]:
    """A row of one's own that has gaps asks for them to be filled in, where the model can."""
    own = x.startswith("json:") and visit.subject.abilities["impute"] is None
    return {"do": "impute"} if own and example_of(visit.subject, x).values.isna().to_numpy().any() else {}


def _grey(shade: float) -> str:
    return f"rgb({', '.join([str(round(255 * shade))] * 3)})"


class _Drawing:
    """The painter, and its tools."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        can_impute = visit.subject.abilities["impute"] is None
        channels, height, width = visit.subject.examples.shape
        with Html("section", classes="card stack", aria_label="Drawing"):
            Html("h2", "Draw or rub out")
            self.painter = Painter()
            with Html("div", classes="row", role="group", aria_label="tool"):
                self.tools = {"draw": button("Draw", lambda: self._take("draw"))}
                if can_impute:
                    self.tools["rub"] = button("Rub out", lambda: self._take("rub"))
                button("Clear", lambda: self._clear())
                if can_impute:
                    button("Mend all", lambda: visit.change(holes=""))
            size = max(1, round(max(height, width) / 14))
            with Html("div", classes="row"):
                Field("range", "Brush", size, lambda value: self._set(size=int(value)), min=1, max=8 * size, step=1)
                if channels == 3:
                    Field("color", "Colour", WHITE, lambda colour: self._set(ink=colour))
                else:
                    Field("range", "Shade", 1.0, lambda value: self._set(ink=_grey(value)), min=0, max=1, step=0.05)
        self._set(
            width=width, height=height, size=size, ink=WHITE,
            label=f"drawing of {width} by {height} pixels; arrow keys move, space paints",
        )  # fmt: skip
        self._take("rub" if can_impute else "draw")
        self.painter.on("draw", lambda event: self._drawn(event.args))
        self.painter.on("rub", lambda event: self._rubbed(event.args))
        self._follow()
        visit.on_shown.append(lambda _: self._follow())

    @property
    def _view(self) -> Repair:
        assert isinstance(self.visit.view, Repair)
        return self.visit.view

    def _set(self, **props: Any) -> None:
        self.painter.props.update(props)

    def _take(self, tool: str) -> None:
        self._set(mode=tool)
        for name, made in self.tools.items():
            toggle(made, name == tool)

    def _follow(self) -> None:
        try:
            image = example_of(self.visit.subject, self._view.x).values[0]
            holes = read_holes(self.visit.subject, self._view.holes)
        except REFUSED:
            return  # the answer says so
        mask = "" if holes is None else as_url(np.where(holes, 255, 0).astype(np.uint8)[None])
        src = as_url(image)
        if (src, mask) != (self.painter.props.get("src"), self.painter.props.get("holes")):
            self._set(src=src, holes=mask)

    async def _drawn(self, url: str) -> None:
        await self._change(url, lambda image: {"x": write_image(image)})

    async def _rubbed(self, url: str) -> None:
        await self._change(url, lambda image: {"holes": write_holes(image[0, 0] > 127), "do": "impute"})

    async def _change(self, url: Any, fields: Any) -> None:
        try:
            image = read_image(self.visit.subject, from_data_url(str(url)))
        except REFUSED as error:
            self.visit.on_refused(str(error))
            return
        await self.visit.change(**fields(image))

    async def _clear(self) -> None:
        self._take("draw")
        blank = np.zeros((1, *self.visit.subject.examples.shape), np.uint8)
        await self.visit.change(
            x=write_image(blank), holes="", do="reconstruct" if self._view.do == "impute" else self._view.do
        )


class _Cells:
    """A field for each cell of a table's row."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.fields: dict[str, Field] = {}
        self.x: str | None = None
        columns = visit.subject.examples.columns
        assert columns is not None
        self.columns = columns
        with Html("section", classes="card stack", aria_label="Cells"):
            Html("h2", "Cells")
            Html("p", "Change a cell, or empty it to have it filled in.", "fine")
            for column in columns:
                self.fields[column.name] = self._field(column)
            button("As it was", lambda: visit.change(cells=""))
        self._follow()
        visit.on_shown.append(self._follow)

    def _field(self, column: Column) -> Field:
        if column.categories is None:
            return Field(
                "number", column.name, "", lambda text: self._edit(column, text), step="any", placeholder="missing"
            )
        options = [("", "missing"), *((name, name) for name in column.categories)]
        return Field("select", column.name, "", lambda text: self._edit(column, text), options)

    @property
    def _view(self) -> Repair:
        assert isinstance(self.visit.view, Repair)
        return self.visit.view

    def _follow(self, shown: Shown | None = None) -> None:
        if self.x == self._view.x + self._view.cells:
            return
        try:
            row = with_cells(example_of(self.visit.subject, self._view.x).values, self._view.cells, self.columns)
        except REFUSED:
            return  # the answer says so
        self.x = self._view.x + self._view.cells
        for name, field in self.fields.items():
            value = row[name].iloc[0]
            field.reset(written(value))

    async def _edit(self, column: Column, text: str) -> None:
        try:
            before = example_of(self.visit.subject, self._view.x).values
            row = with_cells(before, self._view.cells, self.columns)
            changed = with_cells(row, json.dumps({column.name: text or None}), self.columns)
        except REFUSED as error:
            self.visit.on_refused(str(error))
            return
        gaps = bool(changed.isna().to_numpy().any()) and self.visit.subject.abilities["impute"] is None
        await self.visit.change(cells=write_cells(before, changed), do="impute" if gaps else self._view.do)
