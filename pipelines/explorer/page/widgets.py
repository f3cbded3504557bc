"""Elements of the page: plain HTML, and the three components that are written in JavaScript."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from numpy.typing import NDArray

from pipelines.explorer.given import png_bytes

MISSING_PIXEL = np.array([182, 94, 52], np.uint8)
"""The colour of a pixel that is not there."""
SLIDER_SECONDS = 0.03
"""Between the events of a slider that is being moved."""


class Html(TextElement):
    """An HTML element with text, which is never read as HTML, and attributes: `aria_label` becomes `aria-label`."""

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
        label: Its name.
        value: What it is set to.
        on_set: Told what a person sets it to: a number of a slider, else text.
        options: Of a select: values and words.
        named: More attributes: `min`, `max`, `step`, `placeholder`; of a slider `note`, beside its name, and
            `logarithmic`, if it is over powers of ten.
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
        listed = [{"value": value, "label": words} for value, words in options]
        props = {"kind": kind, "label": label, "value": value, "options": listed, "turn": 0, **named}
        self.props.update(props)
        self.on("set", lambda event: on_set(event.args), throttle=SLIDER_SECONDS if kind == "range" else 0.0)

    def reset(self, value: Any) -> None:
        """Sets it, whatever a person has set."""
        self.props.update(value=value, turn=self.props["turn"] + 1)


class Scatter(ui.element, component="scatter.js"):
    """Points to pick; see the JavaScript."""


class Painter(ui.element, component="painter.js"):
    """An image to draw on; see the JavaScript."""


def button(text: str, on_click: Callable[[], Any], **attributes: Any) -> Html:
    """A button."""
    made = Html("button", text, type="button", **attributes)
    made.on("click", lambda _: on_click(), args=[])
    return made


def toggle(element: Html, pressed: bool) -> None:
    """Shows whether a button is the chosen one of its group."""
    element.set(aria_pressed="true" if pressed else "false")


def data_url(image: NDArray[np.floating]) -> str:
    """An image [C,H,W] in [0, 1], NaN where it is missing, for an `img`."""
    missing = np.isnan(image).any(0)
    pixels = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
    if missing.any():
        pixels = pixels if len(pixels) == 3 else pixels.repeat(3, 0)
        pixels[:, missing] = MISSING_PIXEL[:, None]
    return as_url(pixels)


def as_url(pixels: NDArray[np.uint8]) -> str:
    """An image [C,H,W] of bytes, for an `img`."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()
