"""npz files."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vae.errors import DataError


@pytest.fixture
def images() -> np.ndarray:
    """Ten images of 4×5 pixels."""
    return np.random.default_rng(0).integers(0, 256, (10, 4, 5), np.uint8)


def test_npz_usual_names_are_found(tmp_path, look, images) -> None:
    """`x_train` and its kin are the source's own splits; a column of labels is one label each."""
    np.savez(
        tmp_path / "m.npz",
        x_train=images[:6],
        y_train=np.arange(6)[:, None] % 2,
        x_test=images[6:],
        y_test=np.zeros(4, int),
    )
    survey, block = look(tmp_path / "m.npz")
    assert survey.own_splits.tolist() == [0] * 6 + [2] * 4
    assert survey.classes == ("0", "1")
    assert survey.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(block.examples, images.reshape(10, 20))


def test_npz_channels_go_first(tmp_path, look) -> None:
    """(rows, H, W, 3) becomes CHW, and (rows, 3, H, W) stays."""
    color = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    np.savez(tmp_path / "last.npz", images=color)
    np.savez(tmp_path / "first.npz", images=color.transpose(0, 3, 1, 2))
    expected = color.transpose(0, 3, 1, 2).reshape(5, -1)
    for name in ("last", "first"):
        np.testing.assert_array_equal(look(tmp_path / f"{name}.npz")[1].examples, expected)


def test_npz_arrays_can_be_named(tmp_path, look, images) -> None:
    """`image` and `label` name arrays with other names; a wrong name lists what there is."""
    np.savez(tmp_path / "m.npz", pics=images, kind=np.array(["b", "a"] * 5))
    survey, _ = look(tmp_path / "m.npz", image="pics", label="kind")
    assert (survey.classes, survey.labels[:2].tolist()) == (("a", "b"), [1, 0])
    with pytest.raises(DataError, match=re.escape("no array 'pix'. There are: pics (10, 4, 5) uint8, kind (10,) <U1")):
        look(tmp_path / "m.npz", image="pix")


def test_npz_pickle_is_never_loaded(tmp_path, look, images) -> None:
    """An array of Python objects is refused."""
    np.savez(tmp_path / "m.npz", images=images, labels=np.array([{}] * 10, object))
    with pytest.raises(DataError, match="array 'labels': cannot be read: Object arrays cannot be loaded"):
        look(tmp_path / "m.npz")


def test_npz_16_bit_is_refused_or_scaled(tmp_path, look) -> None:
    """uint16 is refused, or scaled from 65535 or from `max_value` onto 255."""
    deep = np.array([[[0, 1000], [2000, 4000]]], np.uint16)
    np.savez(tmp_path / "m.npz", images=deep)
    with pytest.raises(
        DataError, match=r"expected 8-bit pixels, found uint16. Use --set bit_depth=scale, or --set max_value=N"
    ):
        look(tmp_path / "m.npz")
    assert look(tmp_path / "m.npz", bit_depth="scale")[1].examples.tolist() == [[0, 4, 8, 16]]
    assert look(tmp_path / "m.npz", max_value=4000)[1].examples.tolist() == [[0, 64, 128, 255]]
    with pytest.raises(DataError, match=r"expected values from 0 to 100, found 0 to 4000. Use --set max_value=N"):
        look(tmp_path / "m.npz", max_value=100)


def test_npz_binary_must_be_told(tmp_path, look, images) -> None:
    """Zeros and ones in bytes would all be black: refused, unless `max_value` is 1."""
    np.savez(tmp_path / "m.npz", imgs=images % 2)
    with pytest.raises(DataError, match=r"the values are 0 and 1. Use --set max_value=1 for binary images"):
        look(tmp_path / "m.npz")
    np.testing.assert_array_equal(look(tmp_path / "m.npz", max_value=1)[1].examples, (images % 2 * 255).reshape(10, 20))


def test_npz_fractions_are_refused(tmp_path, look, images) -> None:
    """Floating-point pixels are not guessed at."""
    np.savez(tmp_path / "m.npz", images=images / 255)
    with pytest.raises(DataError, match=r"expected integer pixels, found float64. Convert them to uint8"):
        look(tmp_path / "m.npz")


def test_npz_damaged_file_is_refused(tmp_path, look, images) -> None:
    """A cut-off file, and a flipped byte in an array, name the file."""
    path = tmp_path / "m.npz"
    np.savez(path, images=images)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"m\.npz: not a whole \.npz file"):
        look(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(DataError, match=r"m\.npz: .*Bad CRC-32 for file 'images\.npy'"):
        look(path)
