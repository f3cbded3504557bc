"""Sprites, drawn when they are read: see `vae.data.sprites`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources.arrays import check_array, to_pixels
from pipelines.data.sources.config import COLOUR_SPRITES, SPRITES, IngestConfig
from pipelines.data.sources.survey import Block, Listing, Source, Survey, source_file
from vae.data.schema import Column
from vae.data.sprites import Sprites, templates


@dataclass(frozen=True)
class SpritesReader:
    """A reader that draws images."""

    sprites: Sprites
    config: IngestConfig

    def read(self, rows: NDArray[np.int64]) -> Block:
        """Draws the images at some positions; see `Reader.read`."""
        return Block(rows, to_pixels(self.sprites.render(rows), self.config.source, self.config))


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the grid of sprites; see `Source.survey`."""
    sprites = Sprites(colour=listing.root == COLOUR_SPRITES)
    factors = sprites.factors
    values = _grid(sprites)
    shape = [factor.name for factor in factors].index("shape")
    some = sprites.render(np.linspace(0, len(sprites) - 1, 60).astype(np.int64))
    return Survey(
        # The factors, templates and some images stand for the bytes of a file.
        files=(source_file(listing.root, repr(factors).encode() + templates().tobytes() + some.tobytes()),),
        # The shape of one image: the whole grid is never in memory.
        example=check_array((1, *sprites.shape), np.dtype(np.uint8), listing.root, config),
        num_rows=len(sprites),
        reader=SpritesReader(sprites, config),
        classes=factors[shape].categories,
        labels=values[:, shape].astype(np.int32),
        attributes=tuple(Column(factor.name, factor.categories, dtype="string") for factor in factors),
        attribute_values=values,
    )


SOURCE = Source(
    "sprites", lambda config, listing: [listing.root] if listing.root in (SPRITES, COLOUR_SPRITES) else [], survey
)
"""The sources `sprites` and `sprites:colour`. An image's class is its shape; its attributes are all factors."""


def _grid(sprites: Sprites) -> NDArray[np.float32]:
    """Returns the codes of all images in order, [N,F]; filled in place, because there are millions."""
    values = np.empty((*sprites.sizes, len(sprites.sizes)), np.float32)
    for number, size in enumerate(sprites.sizes):
        later = (1,) * (len(sprites.sizes) - number - 1)
        values[..., number] = np.arange(size).reshape(-1, *later)
    return values.reshape(len(sprites), -1)
