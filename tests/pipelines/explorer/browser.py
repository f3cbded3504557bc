"""What is on a page in a browser, and what a person does there."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.explorer.looking import look
from pipelines.explorer.views import read_view
from tests.pipelines.explorer.conftest import TIMEOUT_MS, Shelf


def pixels(page: Any, name: str) -> NDArray[np.uint8]:
    """The bytes of the picture with a caption that begins so, [H,W] or [H,W,3]."""
    figure = page.locator(".answer figure").filter(has=page.locator("figcaption", has_text=name)).first
    return decoded(figure.locator("img").get_attribute("src"))


def decoded(url: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def bytes_of(image: NDArray[Any]) -> NDArray[np.uint8]:
    """What a picture of an answer [C,H,W] holds, [H,W] or [H,W,3]."""
    found = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return found[0] if len(found) == 1 else found.transpose(1, 2, 0)


def eventually(read: Callable[[], Any], expected: Any = None, *, other_than: Any = None) -> Any:
    """What is read, once it is what is expected, or no more what it was."""
    until = time.monotonic() + TIMEOUT_MS / 1000
    while True:
        found = read()
        if expected is not None and np.array_equal(found, expected):
            return found
        if other_than is not None and not np.array_equal(found, other_than):
            return found
        assert time.monotonic() < until, f"found {found!r}, expected {expected!r} or other than {other_than!r}"
        time.sleep(0.02)


def slide(page: Any, label: str, value: float) -> None:
    """Moves a slider as a hand does, by events of the element."""
    page.get_by_label(label, exact=True).first.evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )


def stroke(page: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drags over the canvas of a digit, from one pixel's middle to another's."""
    box = page.locator("canvas.painter").bounding_box()
    (x, y), (to_x, to_y) = (
        (box["x"] + (column + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["width"] / 8)
        for column, row in (start, end)
    )
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(to_x, to_y, steps=8)
    page.mouse.up()


def choose(page: Any, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).first.select_option(value)


def cells(page: Any, column: str) -> list[str]:
    """A line of the answer's table."""
    line = page.locator(".answer tbody tr").filter(has=page.locator("th", has_text=column)).first
    return [cell.inner_text() for cell in line.locator("td").all()]


def saved(page: Any, label: str, nth: int = 0) -> bytes:
    """What a button downloads."""
    with page.expect_download() as download:
        page.get_by_label(label).nth(nth).click()
    return Path(download.value.path()).read_bytes()


def of_link(page: Any, shelf: Shelf) -> Any:
    """What the service answers to the page's link: the first panel's image or row."""
    parts = urlsplit(page.url)
    view = read_view(parts.path.strip("/"), dict(parse_qsl(parts.query)))
    return look(view, shelf.pull(view.model), shelf).panels[0][0].values


def ask(shelf: Shelf, reference: str, rows: Sequence[int], **params: Any) -> Any:
    return shelf[reference].ask(shelf[reference].rows.take(rows), params)


def png(image: Any, size: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    (picture if size is None else picture.resize(size)).save(buffer, "PNG")
    return buffer.getvalue()
