"""Binarisation of grey pixels, and the check that pixels are binary already."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vae.data.manifest import SPLITS
from vae.errors import DataError
from vae.seeds import Stream, derive

Binarization = Literal["none", "static", "dynamic"]
"""Policy: pixels are binary already, drawn once for each row of a dataset, or drawn anew each time."""

DRAW_BYTES = 1 << 18
"""Bytes drawn at once, which fit a core's cache."""


def check_binary(pixels: NDArray[np.uint8], where: str) -> None:
    """Refuses grey pixels for a Bernoulli likelihood without a binarisation policy.

    Args:
        pixels: Pixels of any shape.
        where: Name of the pixels in the message.

    Raises:
        DataError: If a pixel is neither 0 nor 255; says how many and what to do.
    """
    grey = np.count_nonzero(pixels + np.uint8(1) > 1)  # 255 wraps round to 0
    if grey:
        raise DataError(
            f"{where}: {grey} of {pixels.size} pixels are neither 0 nor 255, and a Bernoulli likelihood has no density "
            "for grey; set model.likelihood.binarization to `dynamic` or `static`, or use a gaussian likelihood"
        )


def static_binarization(
    pixels_ND: NDArray[np.uint8], first_row: int, split: str, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Returns one fixed binary draw of each pixel: 255 with its grey value / 255 as probability, else 0.

    A pixel's draw depends on its split and row alone: not on the range it is read in, nor on the run's seed, so that two
    models are scored on the same binary images.

    Args:
        pixels_ND: Grey values.
        first_row: Number of their first row in the split.
        split: Name of the split.
        out: Array to write to; may be `pixels_ND` itself.
    """
    num_rows, row_bytes = pixels_ND.shape
    words_per_row = -(-row_bytes // 8)
    bits = np.random.PCG64(derive(0, Stream.STATIC_BINARIZATION, SPLITS.index(split)))
    bits.advance(first_row * words_per_row)
    drawn = np.empty_like(pixels_ND) if out is None else out
    rows_at_once = max(1, DRAW_BYTES // max(1, row_bytes))
    for row in range(0, num_rows, rows_at_once):
        part = slice(row, row + rows_at_once)
        grey = pixels_ND[part]
        threshold = uniform_below_255(bits.random_raw(len(grey) * words_per_row)).reshape(len(grey), -1)
        white = threshold[:, :row_bytes] < grey
        np.negative(white.view(np.uint8), out=drawn[part])  # 0 and 1 to 0 and 255
    return drawn


def uniform_below_255(words_W: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Returns the bytes of random words, uniform over 0 … 254, [8W]; a byte of 255 is drawn anew from its word's hash."""
    draws = words_W.astype("<u8", copy=True).view(np.uint8)
    again = np.flatnonzero(draws == 255)
    state = words_W[again // 8] + (again % 8 + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    # The SplitMix64 finaliser, as in `seeds.derive`.
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    draws[again] = ((state ^ (state >> np.uint64(31))) % np.uint64(255)).astype(np.uint8)
    return draws
