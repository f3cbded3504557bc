"""The repair view: an example that a person draws, makes noisy or erases parts of, and its reconstruction."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.explorer.given import example_of
from pipelines.explorer.kinds.image import from_data_url, read_holes, read_image, write_holes, write_image
from pipelines.explorer.kinds.table import columns_of, plain_text, with_cells, write_cells
from pipelines.explorer.looking import Shown
from pipelines.explorer.page.chooser import Chooser, add_condition
from pipelines.explorer.page.results import Results
from pipelines.explorer.page.visit import REFUSED, Visit
from pipelines.explorer.page.widgets import Field, Html, Painter, as_url, button, card, toggle
from vae.data.schema import Column

TASKS = [("reconstruct", "reconstruct"), ("denoise", "remove noise"), ("impute", "fill in what is missing")]
WHITE = "#ffffff"


def build(visit: Visit) -> None:
    """Adds the cards of the view."""
    abilities, kind = visit.subject.abilities, visit.subject.kind
    with Html("div", classes="stack"):
        with card("Task"):
            can = [(task, words) for task, words in TASKS if abilities[task] is None]
            task = visit.field("select", "The model is to", "do", can)
            # An eraser, or an emptied cell, changes the task.
            visit.on_shown.append(lambda _: task.reset(visit.view.do))
            if kind.takes_noise:
                visit.field("range", "Noise added", "noise", min=0, max=1, step=0.01)
            visit.field("number", "Draws", "draws", min=1, max=5000, step=1)
            add_condition(visit)
            if refusal := abilities["impute"]:
                Html("p", f"Nothing can be filled in: {refusal}.", "fine")
        if kind.editor == "cells":
            Chooser(visit, "Row", also=lambda x: {"cells": ""} | _task_of(visit, x))
            _Cells(visit)
        else:
            if kind.editor == "drawing":
                _Drawing(visit)
            Chooser(visit, "Example")
    Results(visit, "Answer")


def written(value: Any) -> str:
    """Returns a cell as a person would write it: a number's shortest decimals, 12 digits at most; empty where missing."""
    if pd.isna(value):
        return ""
    if isinstance(value, float | np.floating):
        return np.format_float_positional(value, precision=12, fractional=False, trim="-")
    return plain_text(value)


def _task_of(visit: Visit, x: str) -> dict[str, Any]:
    """Returns the task `impute` for an own row with gaps, if the model can do it."""
    own = x.startswith(visit.subject.kind.prefix) and visit.subject.abilities["impute"] is None
    return {"do": "impute"} if own and example_of(visit.subject, x).values.isna().to_numpy().any() else {}


class _Drawing:
    """The painter and its tools."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        can_impute = visit.subject.abilities["impute"] is None
        channels, height, width = visit.subject.shape
        size = max(1, round(max(height, width) / 14))
        with card("Draw or erase"):
            self.painter = Painter()
            with Html("div", classes="row", role="group", aria_label="tool"):
                self.tools = {"draw": button("Draw", lambda: self._take("draw"))}
                if can_impute:
                    self.tools["rub"] = button("Erase", lambda: self._take("rub"))
                button("Clear", self._clear)
                if can_impute:
                    button("Undo erasing", lambda: visit.change(holes=""))
            with Html("div", classes="row"):
                Field("range", "Brush", size, lambda value: self._set(size=int(value)), min=1, max=8 * size, step=1)
                if channels == 3:
                    Field("color", "Colour", WHITE, lambda colour: self._set(ink=colour))
                else:
                    Field("range", "Shade", 1.0, self._shade, min=0, max=1, step=0.05)
        label = f"drawing of {width} by {height} pixels; arrow keys move, space paints"
        self._set(width=width, height=height, size=size, ink=WHITE, label=label)
        self._take("rub" if can_impute else "draw")
        self.painter.on("draw", lambda event: self._change(event.args, lambda image: {"x": write_image(image)}))
        self.painter.on("rub", lambda event: self._change(event.args, _erased))
        self._follow()
        visit.on_shown.append(lambda _: self._follow())

    def _set(self, **props: Any) -> None:
        self.painter.props.update(props)

    def _shade(self, share: float) -> None:
        self._set(ink=f"rgb({', '.join([str(round(255 * share))] * 3)})")

    def _take(self, tool: str) -> None:
        self._set(mode=tool)
        for name, choice in self.tools.items():
            toggle(choice, name == tool)

    def _follow(self) -> None:
        try:
            image = example_of(self.visit.subject, self.visit.view.x).values[0]
            holes = read_holes(self.visit.subject, self.visit.view.holes)
        except REFUSED:
            return  # the answer says so
        mask = "" if holes is None else as_url(np.where(holes, 255, 0).astype(np.uint8)[None])
        src = as_url(image)
        if (src, mask) != (self.painter.props.get("src"), self.painter.props.get("holes")):
            self._set(src=src, holes=mask)

    async def _change(self, url: Any, fields: Callable[[NDArray[np.uint8]], dict[str, Any]]) -> None:
        try:
            image = read_image(self.visit.subject, from_data_url(str(url)))
        except REFUSED as error:
            self.visit.on_refused(str(error))
            return
        await self.visit.change(**fields(image))

    async def _clear(self) -> None:
        self._take("draw")
        blank, do = np.zeros((1, *self.visit.subject.shape), np.uint8), self.visit.view.do
        await self.visit.change(x=write_image(blank), holes="", do="reconstruct" if do == "impute" else do)


def _erased(image: NDArray[np.uint8]) -> dict[str, Any]:
    return {"holes": write_holes(image[0, 0] > 127), "do": "impute"}


MOST_OPTIONS = 500
"""Categories up to which a cell is chosen from a list; the name of one of more is typed in."""


class _Cells:
    """A field for each cell of a table's row."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.x: str | None = None
        self.columns = columns_of(visit.subject)
        with card("Cells"):
            Html("p", "Change a cell, or empty it to have it filled in.", "fine")
            self.fields = {column.name: self._field(column) for column in self.columns}
            button("Reset cells", lambda: visit.change(cells=""))
        self._follow()
        visit.on_shown.append(self._follow)

    def _field(self, column: Column) -> Field:
        def edit(text: str) -> Any:
            return self._edit(column.name, text)

        if column.type == "time":
            return Field("text", column.name, "", edit, placeholder="missing")
        if column.categories is None:
            return Field("number", column.name, "", edit, step="any", placeholder="missing")
        if len(column.categories) > MOST_OPTIONS:
            return Field("text", column.name, "", edit, placeholder="missing")
        return Field("select", column.name, "", edit, [("", "missing"), *((name, name) for name in column.categories)])

    def _rows(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Returns the example as it is, and with its changed cells."""
        before = example_of(self.visit.subject, self.visit.view.x).values
        return before, with_cells(before, self.visit.view.cells, self.columns)

    def _follow(self, shown: Shown | None = None) -> None:
        x = self.visit.view.x + self.visit.view.cells
        if self.x == x:
            return
        try:
            _, row = self._rows()
        except REFUSED:
            return  # the answer says so
        self.x = x
        for name, field in self.fields.items():
            field.reset(written(row[name].iloc[0]))

    async def _edit(self, name: str, text: str) -> None:
        try:
            before, row = self._rows()
            changed = with_cells(row, json.dumps({name: text or None}), self.columns)
        except REFUSED as error:
            self.visit.on_refused(str(error))
            return
        gaps = bool(changed.isna().to_numpy().any()) and self.visit.subject.abilities["impute"] is None
        await self.visit.change(cells=write_cells(before, changed), do="impute" if gaps else self.visit.view.do)
