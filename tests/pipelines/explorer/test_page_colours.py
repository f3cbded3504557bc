"""A model of colour images, in a real browser."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.pipelines.explorer.browser import ask, bytes_of, eventually, of_link, pixels, png, saved, slide, stroke
from tests.pipelines.explorer.conftest import Shelf

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def test_colours_are_decoded(visit: Any, shelf: Shelf) -> None:
    """A slider's picture has the colours that `decode` gives, and so have its PNG and CSV."""
    page = visit("/latent?model=digits-in-colour&x=row:3")
    before = pixels(page, "decoded")
    slider = page.locator(".range .name").first.inner_text().split()[0]
    slide(page, slider, 2.5)
    eventually(lambda: pixels(page, "decoded"), other_than=before)
    page.wait_for_url("**moved=*")
    expected = of_link(page, shelf)
    found = eventually(lambda: pixels(page, "decoded"), bytes_of(expected))
    assert found.shape == (8, 8, 3)
    picture = np.asarray(Image.open(io.BytesIO(saved(page, "Save as PNG", -1))).convert("RGB")).astype(int)
    colours = np.unique(picture.reshape(-1, 3), axis=0)
    away = np.abs(colours[:, None] - found.reshape(1, -1, 3).astype(int)).max(-1).min(0)
    assert away.max() <= 1  # of 255: both round
    assert np.ptp(found.astype(int), axis=-1).max() > 0  # not grey
    frame = pd.read_csv(io.BytesIO(saved(page, "Save as CSV", -1)))
    np.testing.assert_allclose(frame.drop(columns="panel").to_numpy()[0], expected.ravel(), rtol=1e-5, atol=1e-6)


def test_colours_are_uploaded_rubbed_out_and_imputed(visit: Any, shelf: Shelf) -> None:
    """A file keeps its colours; where it is rubbed out, all three are filled in as `impute` does."""
    page = visit("/repair?model=digits-in-colour&seed=2")
    digit = shelf["digits-in-colour"].rows.take([9])
    file = {"name": "digit.png", "mimeType": "image/png", "buffer": png(digit[0].transpose(1, 2, 0))}
    page.locator("input[type=file]").set_input_files(file)
    eventually(lambda: pixels(page, "given"), digit[0].transpose(1, 2, 0))
    stroke(page, (2, 3), (5, 3))
    page.get_by_text("pixels missing").wait_for()
    given = digit / np.float32(255)
    given[..., 3, 2:6] = np.nan
    params = {"task": "impute", "num_samples": 200, "seed": 2}
    mean, std = (shelf["digits-in-colour"].ask(given, {**params, "output": one})[0] for one in ("mean", "std"))
    eventually(lambda: pixels(page, "imputed"), bytes_of(mean))
    assert np.array_equal(pixels(page, "uncertainty"), bytes_of(std / np.float32(0.5)))
    assert "4 of 64" in page.locator(".numbers").inner_text()


def test_colour_is_drawn(visit: Any, shelf: Shelf) -> None:
    """A stroke has the colour that was chosen, and is reconstructed as `reconstruct` does."""
    page = visit("/repair?model=digits-in-colour")
    page.get_by_role("button", name="Clear").click()
    eventually(lambda: pixels(page, "given").max(), 0)
    page.get_by_label("Colour", exact=True).fill("#20c0ff")
    stroke(page, (4, 1), (4, 6))
    drawing = np.zeros((1, 3, 8, 8), np.uint8)
    drawing[0, :, 1:7, 4] = np.array([[0x20], [0xC0], [0xFF]])
    eventually(lambda: pixels(page, "given"), drawing[0].transpose(1, 2, 0))
    expected = bytes_of(shelf["digits-in-colour"].ask(drawing, {"task": "reconstruct"})[0])
    eventually(lambda: pixels(page, "reconstructed"), expected)
    assert ask(shelf, "digits-in-colour", [0], task="reconstruct").shape == (1, 3, 8, 8)
