"""Attributes beside images: from .npz arrays and Parquet columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.sources import IngestConfig
from tests.pipelines.data.sources.conftest import png, random_images
from vae.errors import DataError

IMAGES = random_images(6, 4, 5)


def test_npz_attributes_are_numbers_and_categories(tmp_path, look) -> None:
    """Numbers stay, text and what is named become categories, NaN is missing, and a matrix is several attributes."""
    np.savez(
        tmp_path / "m.npz",
        imgs=IMAGES,
        size=np.array([1.5, np.nan, 2, 3, 4, 5]),
        mood=np.array(["sad", "glad", "sad", "glad", "mad", "sad"]),
        latents=np.array([[10, 0], [9, 0], [10, 1], [9, 1], [10, 0], [9, 0]]),
    )
    options = {"attributes": ["size", "mood", "latents"], "categorical": ["latents"]}
    survey, _ = look(tmp_path / "m.npz", **options)
    assert [(column.name, column.categories) for column in survey.attributes] == [
        ("size", None), ("mood", ("glad", "mad", "sad")), ("latents.0", ("9", "10")), ("latents.1", ("0", "1")),
    ]  # fmt: skip
    expected = [[1.5, 2, 1, 0], [np.nan, 0, 0, 0], [2, 2, 1, 1], [3, 0, 0, 1], [4, 1, 1, 0], [5, 2, 0, 0]]
    np.testing.assert_array_equal(survey.attribute_values, np.array(expected, np.float32))


def test_parquet_attributes_follow_their_images(tmp_path, look) -> None:
    """Columns of all files are read in the order of the rows; null and NaN are missing."""
    data = [png(image) for image in IMAGES]
    size, mood = [1.0, None, float("nan"), 4.0, 5.0, 6.0], ["b", "a", None, "b", "a", "a"]
    for part, name in ((slice(4), "a"), (slice(4, 6), "b")):
        table = pa.table({"image": data[part], "size": size[part], "mood": pa.array(mood[part]).dictionary_encode()})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    survey, _ = look(tmp_path, attributes=["mood", "size"])
    assert [column.name for column in survey.attributes] == ["mood", "size"]
    expected = [[1, 1], [0, np.nan], [np.nan, np.nan], [1, 4], [0, 5], [0, 6]]
    np.testing.assert_array_equal(survey.attribute_values, np.array(expected, np.float32))
    assert look(tmp_path)[0].attributes == ()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"m\.npz: no array 'size'. There are: imgs \(6, 4, 5\) uint8"),
        ({"size": np.zeros(5)}, r"array 'size': expected 6 attributes, or rows of them, found shape \(5,\)"),
        ({"size": np.full(6, np.nan)}, "every value of attribute 'size' is missing. Leave it out"),
        ({"size": np.array([1, 2, 3, 4, 1e39, np.inf])}, "2 values of attribute 'size' are infinite or above 3.4e38"),
        ({"size": np.array([b"x"] * 6)}, "expected numbers, booleans or text in attribute 'size', found binary"),
    ],
)
def test_npz_attributes_that_are_none_are_refused(tmp_path, look, arrays, message) -> None:
    """What is absent, of another length, empty, infinite or of bytes is named."""
    np.savez(tmp_path / "m.npz", imgs=IMAGES, **arrays)
    with pytest.raises(DataError, match=message):
        look(tmp_path / "m.npz", attributes=["size"])


def test_attributes_of_split_arrays_are_refused(tmp_path, look) -> None:
    """An array of attributes belongs to one array of images."""
    np.savez(tmp_path / "m.npz", x_train=IMAGES[:4], x_test=IMAGES[4:], size=np.zeros(6))
    with pytest.raises(DataError, match=r"attributes belong to one array of images, found 2. Use --set image=NAME"):
        look(tmp_path / "m.npz", attributes=["size"])


def test_parquet_attribute_that_is_absent_is_refused(tmp_path, look) -> None:
    """A column that is not there is named with those that are."""
    pq.write_table(pa.table({"image": [png(IMAGES[0])]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: no column 'size'. Columns: image"):
        look(tmp_path, attributes=["size"])


def test_sources_without_attributes_refuse_them(look) -> None:
    """A kind of source that has none says which do; the same attribute twice is a mistake."""
    with pytest.raises(DataError, match=r"sklearn:digits: attributes come beside images in an \.npz file"):
        look("sklearn:digits", attributes=["size"])
    with pytest.raises(ValueError, match="attributes must differ, got a, a"):
        IngestConfig(source="x", name="d", attributes=("a", "a"))
