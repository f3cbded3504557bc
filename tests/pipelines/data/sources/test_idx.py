"""IDX folders."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.data.sources.conftest import random_images
from vae.errors import DataError

IMAGES = random_images(12, 4, 5)


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Writes an IDX file of unsigned bytes, gzipped by its name."""
    data = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_pair_gives_pixels_and_labels(tmp_path, look, suffix) -> None:
    """Images and labels come back as they were, gzipped or not, and the classes are the labels' values."""
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", IMAGES)
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", np.array([3, 10, 7] * 4, np.uint8))
    survey, block = look(tmp_path)
    assert survey.example.shape == (1, 4, 5)
    np.testing.assert_array_equal(block.examples, IMAGES.reshape(12, 20))
    assert survey.classes == ("3", "7", "10")
    assert survey.labels.tolist() == [0, 2, 1] * 4
    assert survey.own_splits is None


def test_idx_stems_name_the_splits(tmp_path, look) -> None:
    """`train` and `t10k` files are the source's own splits."""
    for stem, part in (("t10k", IMAGES[:5]), ("train", IMAGES[5:])):
        write_idx(tmp_path / f"{stem}-images.idx3-ubyte", part)
    survey, block = look(tmp_path)
    assert survey.own_splits.tolist() == [0] * 7 + [2] * 5
    np.testing.assert_array_equal(block.examples, IMAGES[[5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4]].reshape(12, 20))
    assert survey.classes is None


@pytest.mark.parametrize(
    ("suffix", "cut", "message"),
    [
        (".gz", 100, r"train-images-idx3-ubyte\.gz: the gzip stream is damaged .*Fetch the file again"),
        ("", 7, r"expected 12,000 bytes of data for shape \(600, 4, 5\), found 11,993"),
    ],
)
def test_idx_file_that_ends_early_is_refused(tmp_path, look, suffix, cut, message) -> None:
    """Part of a gzip stream names the file; a plain file that ends early says what it should hold and what it holds."""
    path = write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", np.repeat(IMAGES, 50, axis=0))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=message):
        look(tmp_path)


def test_idx_bomb_is_not_unfolded(tmp_path, look) -> None:
    """A header that promises more than the limit is refused before anything is unfolded."""
    head = struct.pack(">BBBB", 0, 0, 8, 3) + struct.pack(">3I", 4_000_000_000, 28, 28)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + bytes(1000)))
    with pytest.raises(DataError, match=r"unfolds to 3,136,000,000,000 bytes, above the limit of 17,179,869,184"):
        look(tmp_path)


def test_idx_label_count_must_fit(tmp_path, look) -> None:
    """Labels for another number of images are refused with both counts."""
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(11, np.uint8))
    with pytest.raises(DataError, match=r"expected 12 labels, one for each image of .*, found shape \(11,\)"):
        look(tmp_path)


def test_idx_wrong_header_is_refused(tmp_path, look) -> None:
    """A file that is not IDX says what it begins with."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="expected an IDX header, found 3c 68 74 6d"):
        look(tmp_path)


def test_idx_resize_and_color_apply(tmp_path, look) -> None:
    """A constant image stays constant through --resize and --color rgb."""
    write_idx(tmp_path / "train-images-idx3-ubyte", np.full_like(IMAGES, 77))
    survey, block = look(tmp_path, resize=(8, 6), color="rgb")
    assert survey.example.shape == (3, 8, 6)
    assert block.examples.shape == (12, 3 * 8 * 6)
    assert set(block.examples.ravel().tolist()) == {77}
