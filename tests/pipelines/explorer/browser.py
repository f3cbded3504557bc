"""What a page shows in a browser, and what a person does there."""

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
    """Returns the bytes of the picture whose caption has a name, [H,W] or [H,W,3]."""
    figure = page.locator(".answer figure").filter(has=page.locator("figcaption", has_text=name)).first
    return decoded(figure.locator("img").get_attribute("src"))


def decoded(url: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def bytes_of(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns the bytes of a picture of an answer [C,H,W], as [H,W] or [H,W,3]."""
    values = image if image.dtype == np.uint8 else (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return values[0] if len(values) == 1 else values.transpose(1, 2, 0)


def eventually(read: Callable[[], Any], expected: Any = None, *, other_than: Any = None) -> Any:
    """Waits until a value is the expected one, or another than before; returns it."""
    until = time.monotonic() + TIMEOUT_MS / 1000
    while True:
        value = read()
        if expected is not None and np.array_equal(value, expected):
            return value
        if other_than is not None and not np.array_equal(value, other_than):
            return value
        assert time.monotonic() < until, f"read {value!r}, expected {expected!r} or other than {other_than!r}"
        time.sleep(0.02)


def shows(page: Any, name: str, image: NDArray[Any]) -> NDArray[np.uint8]:
    """Waits until the picture of a name shows an image [C,H,W]; returns its bytes."""
    return eventually(lambda: pixels(page, name), bytes_of(image))


def slide(page: Any, label: str, value: float) -> None:
    """Moves a slider as a hand does, by events of the element."""
    page.get_by_label(label, exact=True).first.evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )


def stroke(page: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drags over the canvas of a digit, from the middle of one pixel to that of another."""
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


def fill(page: Any, label: str, text: str) -> None:
    """Types into a field and leaves it."""
    field = page.get_by_label(label, exact=True).first
    field.fill(text)
    field.press("Tab")


def upload(page: Any, name: str, data: bytes, kind: str = "image/png") -> None:
    """Gives a file to the first upload of the page."""
    page.locator("input[type=file]").first.set_input_files({"name": name, "mimeType": kind, "buffer": data})


def cells(page: Any, column: str) -> list[str]:
    """Returns a line of the answer's table."""
    line = page.locator(".answer tbody tr").filter(has=page.locator("th", has_text=column)).first
    return [cell.inner_text() for cell in line.locator("td").all()]


def saved(page: Any, label: str, nth: int = 0) -> bytes:
    """Returns the bytes that a button downloads."""
    with page.expect_download() as download:
        page.get_by_label(label).nth(nth).click()
    return Path(download.value.path()).read_bytes()


def in_link(page: Any, field: str) -> str:
    """Returns a field of the view in the page's address."""
    return dict(parse_qsl(urlsplit(page.url).query))[field]


def of_link(page: Any, shelf: Shelf) -> Any:
    """Returns the service's answer to the page's link: the first panel's image or row."""
    parts = urlsplit(page.url)
    view = read_view(parts.path.strip("/"), dict(parse_qsl(parts.query)))
    return look(view, shelf.pull(view.model), shelf).panels[0][0].values


def ask(shelf: Shelf, reference: str, rows: Sequence[int], **params: Any) -> Any:
    return shelf[reference].ask(shelf[reference].rows.take(rows), params)


def png(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
