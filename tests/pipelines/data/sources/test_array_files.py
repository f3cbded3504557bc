"""Files of arrays: images, and vectors."""

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
        ({"images": IMAGES * 1j}, {}, "expected rows of numbers, found shape .* of complex128"),
        ({"images": np.zeros((3, 80, 80)) - 1}, {}, "6,400 numbers a row that are no pixels, above the limit of 4,096"),
    ],
    ids=["pickle", "16 bit", "above max_value", "binary", "complex", "wide"],
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


@pytest.mark.parametrize(
    ("images", "note"),
    [
        (IMAGES / 255, "images of floats from 0 to 1 scaled to 0 to 255 and rounded"),
        ((IMAGES / np.float32(255)).astype(np.float16), "images of floats from 0 to 1 scaled to 0 to 255 and rounded"),
        (IMAGES.astype(float), "images of floats taken as whole numbers from 0 to 255"),
        (np.clip(IMAGES + 0.3, 0, 255), "images of floats rounded to whole numbers from 0 to 255"),
    ],
    ids=["unit", "half", "whole", "fractions"],
)
def test_floats_that_are_pixels_are_images(tmp_path, look, images, note) -> None:
    """Floats from 0 to 1 and from 0 to 255 become 8-bit images, with a note that --strict refuses."""
    np.save(tmp_path / "m.npy", images)
    survey, block = look(tmp_path / "m.npy")
    assert survey.notes == (note,)
    np.testing.assert_array_equal(block.examples, IMAGES.reshape(10, 20))
    with pytest.raises(DataError, match="--strict allows none"):
        look(tmp_path, strict=True)


def test_floats_that_are_no_pixels_are_a_table(tmp_path, look) -> None:
    """Images of other numbers, or with NaN, are columns of numbers with their own values; NaN is missing."""
    images = np.random.default_rng(0).normal(size=(50, 2, 3)).astype(np.float32)
    images[3, 0, 1] = np.nan
    np.savez(tmp_path / "m.npz", images=images, labels=np.arange(50) % 2, other=np.zeros(3))
    survey, block = look(tmp_path / "m.npz")
    assert survey.notes == (
        "arrays left aside: other",
        "arrays of 2×3 floats with NaN are no pixels: read as a table of 6 columns x_0 … x_5. "
        "Scale them to 0 to 1 to have images",
    )
    assert (survey.classes, survey.labels.tolist()) == (("0", "1"), [0, 1] * 25)
    assert block.examples.column_names == [f"x_{place}" for place in range(6)]
    np.testing.assert_array_equal(block.examples.to_pandas().to_numpy(np.float32), images.reshape(50, 6))
    assert block.examples["x_1"].null_count == 1
    with pytest.raises(DataError, match="expected values from 0 to 3, found nan to nan"):
        look(tmp_path / "m.npz", max_value=3)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, ">f4", np.int64], ids=str)
def test_vectors_are_a_table(tmp_path, look, kind) -> None:
    """Rows of numbers keep their values, with labels and the source's own splits, from .npz and from .npy files."""
    vectors = (np.random.default_rng(0).normal(size=(60, 5)) * 100).astype(kind)
    arrays = {"x_train": vectors[:40], "x_test": vectors[40:], "y_train": np.array(["a", "b"] * 20)}
    arrays["y_test"] = np.array(["b"] * 20)
    np.savez(tmp_path / "m.npz", **arrays)
    (tmp_path / "many").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "many" / f"{name}.npy", array)
    for source in (tmp_path / "m.npz", tmp_path / "many"):
        survey, block = look(source)
        assert survey.notes == ()
        assert survey.own_splits.tolist() == [0] * 40 + [2] * 20
        assert (survey.classes, survey.labels.tolist()) == (("a", "b"), [0, 1] * 20 + [1] * 20)
        np.testing.assert_array_equal(block.examples.to_pandas().to_numpy(), vectors.astype(float))


def test_npy_source_is_one_array_or_named_ones(tmp_path, look) -> None:
    """One file of any name is the source; of several, the usual names are found, and a cut-off file is named."""
    np.save(tmp_path / "pictures.npy", IMAGES)
    np.testing.assert_array_equal(look(tmp_path)[1].examples, IMAGES.reshape(10, 20))
    np.save(tmp_path / "labels.npy", np.arange(10) % 2)
    assert look(tmp_path)[0].classes == ("0", "1")
    np.save(tmp_path / "more.npy", IMAGES)
    with pytest.raises(DataError, match=r"which array holds the examples\. There are: labels \(10,\) int64, more"):
        look(tmp_path)
    np.savez(tmp_path / "m.npz", images=IMAGES)
    with pytest.raises(DataError, match=r"4 files of arrays .* expected one \.npz file or several \.npy files"):
        look(tmp_path)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "more.npy").read_bytes()[:100])
    with pytest.raises(DataError, match=r"cut\.npy: not a whole \.npy file"):
        look(tmp_path / "cut.npy")
