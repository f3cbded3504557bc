"""An example that is drawn, made noisy or erased, and its reconstruction, in a real browser; in grey and in colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.pipelines.explorer.browser import bytes_of, eventually, pixels, png, shows, slide, stroke, upload
from tests.pipelines.explorer.conftest import Shelf

pytestmark = [pytest.mark.slow, pytest.mark.ci]
each_model = pytest.mark.parametrize("model", ["digits/1", "digits-in-colour"])


def cleared(visit: Any, path: str = "/repair") -> Any:
    """Returns a page with an empty canvas."""
    page = visit(path)
    page.get_by_role("button", name="Clear").click()
    eventually(lambda: pixels(page, "given").max(), 0)
    return page


def test_noise_is_added_and_removed(visit: Any, shelf: Shelf) -> None:
    """The input is noisy, and the picture is the answer of `denoise`."""
    page = visit("/repair?x=row:5&do=denoise&seed=3")
    clean = pixels(page, "given")
    slide(page, "Noise added", 0.3)
    eventually(lambda: pixels(page, "given"), other_than=clean)
    noisy = shelf["digits/1"].rows.take([5]) / np.float32(255)
    noisy = noisy + np.random.default_rng(3).normal(0, 0.3, noisy.shape).astype(np.float32)
    shows(page, "denoised", shelf["digits/1"].ask(noisy, {"task": "denoise", "num_samples": 200, "seed": 3})[0])


@each_model
def test_uploaded_pixels_are_erased_and_imputed(model: str, visit: Any, shelf: Shelf) -> None:
    """A file keeps its colours; a stroke of the eraser makes holes, filled in as `impute` does, with its uncertainty."""
    page = visit(f"/repair?model={model}&seed=2")
    digit = shelf[model].rows.take([9])
    upload(page, "digit.png", png(bytes_of(digit[0])))
    shows(page, "given", digit[0])
    stroke(page, (2, 3), (5, 3))
    page.get_by_text("pixels missing").wait_for()
    holed = digit / np.float32(255)
    holed[..., 3, 2:6] = np.nan
    params = {"task": "impute", "num_samples": 200, "seed": 2}
    mean, std = (shelf[model].ask(holed, {**params, "output": output})[0] for output in ("mean", "std"))
    shows(page, "imputed", mean)
    shows(page, "uncertainty", std / np.float32(0.5))
    numbers = page.locator(".numbers").inner_text()
    assert "4 of 64" in numbers
    assert f"{std[:, 3, 2:6].mean():.4f}" in numbers
    assert len(np.unique(pixels(page, "given").reshape(64, -1), axis=0)) > 4  # the holes have a colour of their own


@each_model
def test_digit_is_drawn_and_reconstructed(model: str, visit: Any, shelf: Shelf) -> None:
    """A stroke has the chosen colour, and the picture is the answer of `reconstruct`."""
    page, ink = cleared(visit, f"/repair?model={model}"), np.array([[255]])
    if model == "digits-in-colour":
        page.get_by_label("Colour", exact=True).fill("#20c0ff")
        ink = np.array([[0x20], [0xC0], [0xFF]])
    stroke(page, (4, 1), (4, 6))
    drawing = np.zeros((1, len(ink), 8, 8), np.uint8)
    drawing[0, :, 1:7, 4] = ink
    shows(page, "given", drawing[0])
    shows(page, "reconstructed", shelf[model].ask(drawing, {"task": "reconstruct"})[0])


def test_canvas_answers_the_keyboard(visit: Any) -> None:
    """Arrow keys move over the pixels, and the space bar paints one."""
    page = cleared(visit)
    page.locator("canvas.painter").focus()
    for key in ("ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    eventually(lambda: pixels(page, "given").max(), 255)
    assert (pixels(page, "given") > 0).sum() == 1


def test_other_views_keep_the_example(visit: Any) -> None:
    """A drawing of one view is the example of the next."""
    page = cleared(visit)
    stroke(page, (1, 2), (6, 2))
    drawing = np.zeros((1, 8, 8), np.uint8)
    drawing[0, 2, 1:7] = 255
    shows(page, "given", drawing)
    page.get_by_role("link", name="Edit").click()
    page.wait_for_url("**/edit?*x=png*")
    page.locator("[aria-current=page]", has_text="Edit").wait_for()
    shows(page, "given", drawing)
