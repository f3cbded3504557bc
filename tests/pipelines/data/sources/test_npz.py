"""npz files."""

from __future__ import annotations

import numpy as np
import pytest

from tests.pipelines.data.sources.conftest import random_images
from vae.errors import DataError

IMAGES = random_images(10, 4, 5)
DEEP = np.array([[[0, 1000], [2000, 4000]]], np.uint16)


def test_npz_usual_names_are_recognised(tmp_path, look) -> None:
    """`x_train` and similar names are the source's own splits; a column of labels is one label each."""
    labels = {"y_train": np.arange(6)[:, None] % 2, "y_test": np.zeros(4, int)}
    np.savez(tmp_path / "m.npz", x_train=IMAGES[:6], x_test=IMAGES[6:], **labels)
    survey, block = look(tmp_path / "m.npz")
    assert survey.own_splits.tolist() == [0] * 6 + [2] * 4
    assert survey.classes == ("0", "1")
    assert survey.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(block.examples, IMAGES.reshape(10, 20))


def test_npz_channels_go_first(tmp_path, look) -> None:
    """(rows, H, W, 3) becomes CHW, and (rows, 3, H, W) stays."""
    color = random_images(5, 4, 6, 3)
    first = color.transpose(0, 3, 1, 2)
    for array in (color, first):
        np.savez(tmp_path / "m.npz", images=array)
        np.testing.assert_array_equal(look(tmp_path / "m.npz")[1].examples, first.reshape(5, -1))


def test_npz_arrays_can_be_named(tmp_path, look) -> None:
    """`image` and `label` name arrays with other names; a wrong name lists what there is."""
    np.savez(tmp_path / "m.npz", pics=IMAGES, kind=np.array(["b", "a"] * 5))
    survey, _ = look(tmp_path / "m.npz", image="pics", label="kind")
    assert (survey.classes, survey.labels[:2].tolist()) == (("a", "b"), [1, 0])
    with pytest.raises(DataError, match=r"no array 'pix'.*: pics \(10, 4, 5\) uint8, kind \(10,\) <U1"):
        look(tmp_path / "m.npz", image="pix")


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (
            {"images": IMAGES, "labels": np.array([{}] * 10, object)},
            {},
            "array 'labels': .*Object arrays cannot be loaded",
        ),
        ({"images": DEEP}, {}, "8-bit pixels, found uint16. Use --set bit_depth=scale, or --set max_value=N"),
        ({"images": DEEP}, {"max_value": 100}, "values from 0 to 100, found 0 to 4000. Use --set max_value=N"),
        ({"imgs": IMAGES % 2}, {}, "the values are 0 and 1. Use --set max_value=1 for binary images"),
        ({"images": IMAGES / 255}, {}, "expected integer pixels, found float64. Convert them to uint8"),
    ],
    ids=["pickle", "16 bit", "above max_value", "binary", "fractions"],
)
def test_npz_array_that_is_unclear_is_refused(tmp_path, look, arrays, options, message) -> None:
    """Python objects are never loaded; what would be clipped, black or guessed is refused with the option."""
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(DataError, match=message):
        look(tmp_path / "m.npz", **options)


def test_npz_values_can_be_scaled(tmp_path, look) -> None:
    """uint16 is scaled from 65535 or from `max_value` onto 255; zeros and ones by `max_value` 1."""
    np.savez(tmp_path / "m.npz", images=DEEP)
    assert look(tmp_path / "m.npz", bit_depth="scale")[1].examples.tolist() == [[0, 4, 8, 16]]
    assert look(tmp_path / "m.npz", max_value=4000)[1].examples.tolist() == [[0, 64, 128, 255]]
    np.savez(tmp_path / "m.npz", imgs=IMAGES % 2)
    np.testing.assert_array_equal(look(tmp_path / "m.npz", max_value=1)[1].examples, (IMAGES % 2 * 255).reshape(10, 20))


def test_npz_damaged_file_is_refused(tmp_path, look) -> None:
    """A cut-off file, and a flipped byte in an array, name the file."""
    path = tmp_path / "m.npz"
    np.savez(path, images=IMAGES)
    whole, middle = path.read_bytes(), path.stat().st_size // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for data, message in ((whole[:-30], "not a whole .npz file"), (flipped, "Bad CRC-32 for file 'images.npy'")):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"m\.npz: .*{message}"):
            look(path)
