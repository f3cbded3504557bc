"""Binarisation: draws are fair, repeat where they must, and grey is refused where it has no density."""

from __future__ import annotations

import numpy as np
import pytest

from vae.data.binarization import check_binary, static_binarization, uniform_below_255
from vae.errors import DataError


def test_bernoulli_refuses_grey_without_a_policy() -> None:
    """Grey pixels are counted and refused, with what to set; binary ones pass."""
    check_binary(np.array([[0, 255]], np.uint8), "here")
    with pytest.raises(DataError, match=r"train rows 0 to 2: 2 of 6 pixels .*likelihood\.binarization.*gaussian"):
        check_binary(np.array([[0, 255, 3], [254, 0, 0]], np.uint8), "digits, train rows 0 to 2")


@pytest.mark.parametrize("row_bytes", [7, 20])
def test_static_binarization_does_not_depend_on_the_cut(row_bytes: int) -> None:
    """A row's draw is the same in every range that it is read in, be it of one random word or of several."""
    pixels = np.random.default_rng(0).integers(256, size=(2500, row_bytes), dtype=np.uint8)
    whole = static_binarization(pixels, 100, split="train")
    for start, stop in [(0, 1), (0, 924), (923, 926), (924, 2500), (1000, 1003), (2047, 2400)]:
        assert np.array_equal(static_binarization(pixels[start:stop], 100 + start, split="train"), whole[start:stop])
    assert not np.array_equal(static_binarization(pixels, 100, split="validation"), whole)


def test_static_binarization_draws_each_pixel_by_its_grey_value() -> None:
    """0 stays 0, 255 stays 255, and a grey value is drawn white as often as it is bright, within 5 standard errors."""
    grey = np.tile(np.array([0, 30, 128, 254, 255], np.uint8), (40_000, 1))
    drawn = static_binarization(grey, 0, split="train")
    assert set(np.unique(drawn)) == {0, 255}
    p = grey[0] / 255
    error = np.abs(drawn.mean(0) / 255 - p)
    assert (error <= 5 * np.sqrt(p * (1 - p) / len(grey))).all()
    assert not np.array_equal(drawn[:1024], drawn[1024:2048])


def test_static_binarization_in_place_is_the_same() -> None:
    """Writing over the grey values gives what a new array would have got."""
    pixels = np.random.default_rng(0).integers(256, size=(500, 1031), dtype=np.uint8)
    expected = static_binarization(pixels, 3, "train")
    assert static_binarization(pixels, 3, "train", out=pixels) is pixels
    assert np.array_equal(pixels, expected)


def test_thresholds_are_uniform_below_255() -> None:
    """No threshold is 255, and both those drawn once and those drawn again are uniform over the rest: χ² of 254 degrees."""
    words = np.random.PCG64(3).random_raw(2_000_000)
    thresholds = uniform_below_255(words)
    assert thresholds.max() == 254
    for chosen in (thresholds, thresholds[words.view(np.uint8) == 255]):
        expected = len(chosen) / 255
        statistic = ((np.bincount(chosen, minlength=255) - expected) ** 2 / expected).sum()
        assert abs(statistic - 254) < 5 * (2 * 254) ** 0.5
