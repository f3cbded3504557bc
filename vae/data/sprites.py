"""Sprites: every image of a grid of independent factors, drawn from its number, for scores of disentanglement.

The grid is that of dSprites: a square, an ellipse or a heart, in 6 sizes, 40 orientations and 32 × 32 places, white on
black; and again in 6 colours. Edges are hard, so that every value is 0 or 255. One step of a place is one pixel, and every
sprite lies whole inside its frame. A square looks the same after a quarter turn, and an ellipse after a half.

Shapes: N images, F factors, C channels.

References:
    Matthey, Higgins, Hassabis & Lerchner, dSprites: Disentanglement testing Sprites dataset (2017).
    https://github.com/google-deepmind/dsprites-dataset
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Pixels of an image's height and width."""
_RADIUS = 16
"""Pixels from a sprite's centre within which all of it lies, whatever its orientation."""
_PATCH = 2 * _RADIUS + 1


class Factor(NamedTuple):
    """One factor of an image."""

    name: str
    categories: tuple[str, ...]
    """Names of its values, in the order of their codes."""


_COLOURS = {
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "green": (0, 255, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "magenta": (255, 0, 255),
}
_SHAPES = ("square", "ellipse", "heart")
_SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_NUM_ORIENTATIONS, _NUM_PLACES = 40, SIDE - _PATCH + 1
_PLACES = tuple(str(_RADIUS + place) for place in range(_NUM_PLACES))
_COLOUR = Factor("colour", tuple(_COLOURS))
_FACTORS = (
    Factor("shape", _SHAPES),
    Factor("scale", tuple(str(scale) for scale in _SCALES)),
    Factor("orientation", tuple(f"{turn * 360 // _NUM_ORIENTATIONS}°" for turn in range(_NUM_ORIENTATIONS))),
    Factor("x", _PLACES),
    Factor("y", _PLACES),
)


@dataclass(frozen=True)
class Sprites:
    """The whole grid. An image's number counts through it, the last factor fastest."""

    colour: bool = False

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Factors of an image; places are named by the column and the row of the sprite's centre."""
        return (_COLOUR, *_FACTORS) if self.colour else _FACTORS

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each factor."""
        return tuple(len(factor.categories) for factor in self.factors)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return 3 if self.colour else 1, SIDE, SIDE

    def __len__(self) -> int:
        return int(np.prod(self.sizes))

    def codes(self, index_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the factors' codes [N,F] of the images with these numbers."""
        return np.stack(np.unravel_index(index_N, self.sizes), axis=-1)

    def index(self, codes_NF: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the numbers [N] of the images with these codes."""
        return np.asarray(np.ravel_multi_index(tuple(codes_NF.T), self.sizes))

    def render(self, index_N: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Returns the images with these numbers, uint8 [N,C,64,64] of 0 and 255."""
        images = np.zeros((len(index_N), *self.shape), np.uint8)
        *colour, shape, scale, orientation, x, y = self.codes(index_N).T
        patches = templates()[shape, scale, orientation][:, None]
        if self.colour:
            patches = patches & np.array(list(_COLOURS.values()), np.uint8)[colour[0], :, None, None]
        for image, patch, column, row in zip(images, patches, x.tolist(), y.tolist(), strict=True):
            image[:, row : row + _PATCH, column : column + _PATCH] = patch
        return images


@functools.cache
def templates() -> NDArray[np.uint8]:
    """Returns every sprite in the middle of a patch, of 0 and 255: [3 shapes, 6 scales, 40 orientations, 33, 33]."""
    offset = np.arange(-_RADIUS, _RADIUS + 1.0)
    angle = np.arange(_NUM_ORIENTATIONS)[:, None, None] * (2 * np.pi / _NUM_ORIENTATIONS)
    x, y = offset[None, None, :], -offset[None, :, None]  # y upwards, so that a heart of 0° stands
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    patches = [_inside(shape, u / scale, v / scale) for shape in _SHAPES for scale in _SCALES]
    inside = np.stack(patches).reshape(len(_SHAPES), len(_SCALES), _NUM_ORIENTATIONS, _PATCH, _PATCH)
    return inside.astype(np.uint8) * np.uint8(255)


def _inside(shape: str, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns which pixels' centres, in the sprite's own frame, lie inside."""
    # No edge of an upright sprite goes through a pixel's centre, where rounding would decide.
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 10.8
    if shape == "ellipse":
        return (u / 15.3) ** 2 + (v / 8.1) ** 2 <= 1
    u, v = u / 11.3, v / 11.3 + 0.1
    return (u**2 + v**2 - 1) ** 3 <= u**2 * v**3  # the heart curve
