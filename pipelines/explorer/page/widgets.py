"""Elements of the page: plain HTML, and three components written in JavaScript."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from numpy.typing import NDArray

from pipelines.explorer.kinds.image import png_bytes

MISSING_PIXEL = np.array([182, 94, 52], np.uint8)
"""Colour of a missing pixel."""
SLIDER_SECONDS = 0.03
"""Seconds between the events of a slider that is being moved."""


class Html(TextElement):
    """An HTML element with attributes, where `aria_label` becomes `aria-label`, and text, which is never read as HTML."""

    def __init__(self, tag: str, text: str = "", classes: str = "", **attributes: Any) -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)
        self.set(**attributes)

    def set(self, **attributes: Any) -> None:
        """Changes attributes; None removes one."""
        for name, value in attributes.items():
            self.props.set_optional(name.rstrip("_").replace("_", "-"), value)


class Field(ui.element, component="field.js"):
    """A labelled control.

    Args:
        kind: `range`, `select`, `number`, `color` or `text`.
        label: Name of the control.
        value: First value.
        on_set: Receives the value that a person sets: a number from a slider, else text.
        options: Values and words of a select.
        named: More attributes: `min`, `max`, `step`, `placeholder`; for a slider also `note`, shown beside its name, and
            `logarithmic`, for one over powers of ten.
    """

    def __init__(
        self,
        kind: str,
        label: str,
        value: Any,
        on_set: Callable[[Any], Any],
        options: Sequence[tuple[str, str]] = (),
        **named: Any,
    ) -> None:
        super().__init__()
        listed = [{"value": option, "label": words} for option, words in options]
        self.props.update(kind=kind, label=label, value=value, options=listed, turn=0, **named)
        self.on("set", lambda event: on_set(event.args), throttle=SLIDER_SECONDS if kind == "range" else 0.0)

    def reset(self, value: Any) -> None:
        """Sets the value, whatever a person has set."""
        self.props.update(value=value, turn=self.props["turn"] + 1)


class Scatter(ui.element, component="scatter.js"):
    """A plane of points to pick from; see `scatter.js`."""


class Painter(ui.element, component="painter.js"):
    """An image to draw on; see `painter.js`."""


def button(text: str, on_click: Callable[[], Any], **attributes: Any) -> Html:
    """Adds a button."""
    element = Html("button", text, type="button", **attributes)
    element.on("click", lambda _: on_click(), args=[])
    return element


@contextmanager
def card(title: str, classes: str = "card stack") -> Iterator[None]:
    """Adds a section with a title, for the elements that are added within."""
    with Html("section", classes=classes, aria_label=title):
        Html("h2", title)
        yield


def toggle(element: Html, pressed: bool) -> None:
    """Marks a button as the chosen one of its group, or not."""
    element.set(aria_pressed="true" if pressed else "false")


def data_url(image: NDArray[np.floating]) -> str:
    """Returns an image [C,H,W] in [0, 1], with NaN for missing pixels, as the source of an `img`."""
    missing = np.isnan(image).any(0)
    pixels = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
    if missing.any():
        pixels = pixels if len(pixels) == 3 else pixels.repeat(3, 0)
        pixels[:, missing] = MISSING_PIXEL[:, None]
    return as_url(pixels)


def as_url(pixels: NDArray[np.uint8]) -> str:
    """Returns an image [C,H,W] of bytes as the source of an `img`."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()
