"""Sprites as a source."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.data.sources import IngestConfig, survey_source
from vae.data.sprites import Sprites


@pytest.mark.parametrize(("source", "sprites"), [("sprites", Sprites()), ("sprites:colour", Sprites(colour=True))])
def test_sprites_come_with_their_factors(source: str, sprites: Sprites) -> None:
    """Rows are the grid's images in any order, with the shape as class and every factor's code as an attribute."""
    survey = survey_source(IngestConfig(source=source, name="d"))
    rows = np.random.default_rng(0).integers(len(sprites), size=40)
    block = survey.reader.read(rows)
    assert survey.example.shape == sprites.shape
    assert survey.num_rows == len(sprites)
    assert survey.attribute_values is not None
    assert survey.labels is not None
    np.testing.assert_array_equal(block.examples, sprites.render(rows).reshape(40, -1))
    np.testing.assert_array_equal(survey.attribute_values[rows], sprites.codes(rows))
    names = [column.name for column in survey.attributes]
    assert [(column.name, column.categories) for column in survey.attributes] == list(sprites.factors)
    assert survey.classes == ("square", "ellipse", "heart")
    np.testing.assert_array_equal(survey.labels, survey.attribute_values[:, names.index("shape")])


def test_sprites_can_be_made_smaller(look) -> None:
    """`resize` and `color` do to sprites what they do to any image."""
    survey = survey_source(IngestConfig(source="sprites", name="d", resize=(32, 32), color="rgb"))
    assert survey.example.shape == (3, 32, 32)
    assert survey.reader.read(np.arange(2)).examples.shape == (2, 3 * 32 * 32)
