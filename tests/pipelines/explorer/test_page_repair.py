"""An example that is drawn, made noisy or rubbed out, and what comes back, in a real browser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.pipelines.explorer.browser import bytes_of, eventually, pixels, slide, stroke
from tests.pipelines.explorer.conftest import Shelf

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def test_noise_is_added_and_removed(visit: Any, shelf: Shelf) -> None:
    """What the model is given is noisy, and the picture is what `denoise` gives of it."""
    page = visit("/repair?x=row:5&do=denoise&seed=3")
    clean = pixels(page, "given")
    slide(page, "Noise added", 0.3)
    eventually(lambda: pixels(page, "given"), other_than=clean)
    noisy = shelf["digits/1"].rows.take([5]) / np.float32(255)
    noisy = noisy + np.random.default_rng(3).normal(0, 0.3, noisy.shape).astype(np.float32)
    params = {"task": "denoise", "num_samples": 200, "seed": 3}
    expected = bytes_of(shelf["digits/1"].ask(noisy, params)[0])
    eventually(lambda: pixels(page, "denoised"), expected)


def test_pixels_are_rubbed_out_and_imputed(visit: Any, shelf: Shelf) -> None:
    """A stroke of the rubber makes holes; they are filled in as `impute` does, with how sure that is."""
    page = visit("/repair?x=row:5&seed=2")
    stroke(page, (2, 3), (5, 3))
    page.get_by_text("pixels missing").wait_for()
    given = shelf["digits/1"].rows.take([5]) / np.float32(255)
    given[0, 0, 3, 2:6] = np.nan
    params = {"task": "impute", "num_samples": 200, "seed": 2}
    mean, std = (shelf["digits/1"].ask(given, {**params, "output": output})[0] for output in ("mean", "std"))
    eventually(lambda: pixels(page, "imputed"), bytes_of(mean))
    assert np.array_equal(pixels(page, "uncertainty"), bytes_of(std / np.float32(0.5)))
    numbers = page.locator(".numbers").inner_text()
    assert "4 of 64" in numbers
    assert f"{std[0, 3, 2:6].mean():.4f}" in numbers
    assert len(np.unique(pixels(page, "given").reshape(64, -1), axis=0)) > 4  # the holes have a colour of their own


def test_digit_is_drawn_and_reconstructed(visit: Any, shelf: Shelf) -> None:
    """An empty canvas, a stroke, and the picture is what `reconstruct` gives of the drawing."""
    page = visit("/repair")
    page.get_by_role("button", name="Clear").click()
    eventually(lambda: pixels(page, "given").max(), 0)
    stroke(page, (4, 1), (4, 6))
    drawing = np.zeros((1, 1, 8, 8), np.uint8)
    drawing[0, 0, 1:7, 4] = 255
    eventually(lambda: pixels(page, "given"), drawing[0, 0])
    expected = bytes_of(shelf["digits/1"].ask(drawing, {"task": "reconstruct"})[0])
    eventually(lambda: pixels(page, "reconstructed"), expected)


def test_canvas_answers_the_keyboard(visit: Any) -> None:
    """Arrow keys move over the pixels, and the space bar paints."""
    page = visit("/repair")
    page.get_by_role("button", name="Clear").click()
    eventually(lambda: pixels(page, "given").max(), 0)
    page.locator("canvas.painter").focus()
    for key in ("ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    eventually(lambda: pixels(page, "given").max(), 255)
    assert (pixels(page, "given") > 0).sum() == 1


def test_other_views_keep_the_example(visit: Any) -> None:
    """What was drawn in one is there in the next."""
    page = visit("/repair")
    page.get_by_role("button", name="Clear").click()
    eventually(lambda: pixels(page, "given").max(), 0)
    stroke(page, (1, 2), (6, 2))
    drawing = np.zeros((8, 8), np.uint8)
    drawing[2, 1:7] = 255
    eventually(lambda: pixels(page, "given"), drawing)
    page.get_by_role("link", name="Edit").click()
    page.wait_for_url("**/edit?*x=png*")
    page.locator("[aria-current=page]", has_text="Edit").wait_for()
    assert np.array_equal(eventually(lambda: pixels(page, "given"), drawing), drawing)
