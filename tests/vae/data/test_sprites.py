"""Sprites: one image for each number, made by its factors alone."""

from __future__ import annotations

import time

import numpy as np
import pytest

from vae.data.sprites import SIDE, Sprites, templates

BOTH = pytest.mark.parametrize("sprites", [Sprites(), Sprites(colour=True)], ids=["white", "colour"])


def some(sprites: Sprites, count: int = 300) -> np.ndarray:
    """Numbers of images from all over the grid."""
    return np.random.default_rng(0).integers(len(sprites), size=count)


def test_grid_is_that_of_dsprites() -> None:
    """737,280 images of 64 × 64; six times as many in colour."""
    assert Sprites().sizes == (3, 6, 40, 32, 32)
    assert (len(Sprites()), len(Sprites(colour=True))) == (737_280, 6 * 737_280)
    assert [len(factor.categories) for factor in Sprites(colour=True).factors] == [6, 3, 6, 40, 32, 32]


@BOTH
def test_codes_are_the_number(sprites: Sprites) -> None:
    """Numbers to codes and back is the identity, and no code is beyond its factor."""
    index = some(sprites)
    codes = sprites.codes(index)
    assert (codes >= 0).all()
    assert (codes < np.array(sprites.sizes)).all()
    np.testing.assert_array_equal(sprites.index(codes), index)


@BOTH
def test_same_number_gives_the_same_bytes(sprites: Sprites) -> None:
    """An image depends on its number, not on what is drawn with it; every value is 0 or 255."""
    index = some(sprites, 50)
    together = sprites.render(index)
    assert together.shape == (50, *sprites.shape)
    assert set(np.unique(together)) == {0, 255}
    for number, image in zip(index, together, strict=True):
        np.testing.assert_array_equal(sprites.render(np.array([number]))[0], image)


@BOTH
def test_every_factor_changes_the_image(sprites: Sprites) -> None:
    """One step of any one factor gives another image, wherever on the grid."""
    codes = sprites.codes(some(sprites))
    before = sprites.render(sprites.index(codes))
    for factor, size in enumerate(sprites.sizes):
        other = codes.copy()
        other[:, factor] = (other[:, factor] + 1) % size
        assert (sprites.render(sprites.index(other)) != before).any((1, 2, 3)).all(), sprites.factors[factor].name


def test_sprites_lie_whole_inside_their_frame() -> None:
    """No sprite reaches further from its centre than the frame's edge can come near: none is cut, at any place."""
    offset = np.hypot(*np.mgrid[-16:17, -16:17])
    assert offset[templates().any((0, 1, 2))].max() < 16
    sprites = Sprites()
    corners = [[shape, 5, turn, x, y] for shape in range(3) for turn in range(40) for x in (0, 31) for y in (0, 31)]
    drawn = sprites.render(sprites.index(np.array(corners))).reshape(3, 40, 4, -1)
    whole = templates()[:, 5].reshape(3, 40, 1, -1)
    assert ((drawn > 0).sum(-1) == (whole > 0).sum(-1)).all()


def test_centroid_moves_with_the_place() -> None:
    """A step of x moves the centre of mass one pixel to the right, one of y a pixel down, and nothing else does either."""
    sprites, index = Sprites(), some(Sprites())
    codes = sprites.codes(index)
    codes[:, 3:] %= 31

    def centroid(codes: np.ndarray) -> np.ndarray:
        images = sprites.render(sprites.index(codes))[:, 0] > 0
        grid = np.stack(np.mgrid[:SIDE, :SIDE][::-1], -1)
        return np.stack([grid[image].mean(0) for image in images])

    before = centroid(codes)
    np.testing.assert_allclose(
        centroid(codes + np.array([0, 0, 0, 1, 0])) - before, np.tile([1.0, 0.0], (len(codes), 1))
    )
    np.testing.assert_allclose(
        centroid(codes + np.array([0, 0, 0, 0, 1])) - before, np.tile([0.0, 1.0], (len(codes), 1))
    )


def test_scale_is_the_area() -> None:
    """Areas go with the square of the scale, within what hard edges leave."""
    area = (templates() > 0).sum((-1, -2)).mean(-1)
    np.testing.assert_allclose(
        area / area[:, -1:], np.tile(np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]) ** 2, (3, 1)), rtol=0.03
    )


def test_symmetric_sprites_repeat_exactly() -> None:
    """A square has 10 orientations that differ, an ellipse 20 and a heart 40, at every scale: rounding decides no pixel."""
    for shape, turns in enumerate((10, 20, 40)):
        for scale in range(6):
            assert len(np.unique(templates()[shape, scale].reshape(40, -1), axis=0)) == turns


def test_colour_is_only_a_colour() -> None:
    """The channels of a coloured sprite are the white one, or black."""
    colour, white = Sprites(colour=True), Sprites()
    codes = colour.codes(some(colour, 60))
    drawn, plain = colour.render(colour.index(codes)), white.render(white.index(codes[:, 1:]))
    assert (drawn.max(1, keepdims=True) == plain).all()
    assert {tuple(image.any((1, 2)).tolist()) for image in drawn} == {
        tuple(bool(bits >> channel & 1) for channel in range(3)) for bits in range(1, 7)
    }


def test_rendering_is_quick() -> None:
    """At least 5,000 images a second, measured by the best of three."""
    sprites, index = Sprites(), some(Sprites(), 2000)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        sprites.render(index)
        seconds.append(time.process_time() - start)
    assert len(index) / min(seconds) > 5000
