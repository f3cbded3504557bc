"""Datasets in Python: items of every form, and those that cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from pipelines.data.sources.items import given
from tests.pipelines.data.sources.conftest import random_images
from vae.data.parquet import Dataset
from vae.errors import DataError

IMAGES = random_images(30, 4, 5)

MODULE = """
import numpy as np

class Cells:
    def __len__(self):
        return 30

    def __getitem__(self, index):
        return np.random.default_rng(index).integers(0, 256, (4, 5), np.uint8), index % 3

cells = Cells()
broken = 3

def stream():
    for index in range(30):
        yield cells[index]
"""


class Made:
    """A dataset of a function of the index."""

    def __init__(self, item: Callable[[int], Any], number: int = 30) -> None:
        self.item, self.number = item, number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


class Stream(IterableDataset):
    """The images, without any order but one after the other."""

    def __iter__(self) -> Iterator[Any]:
        return iter(IMAGES)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that can be imported."""
    (tmp_path / "own_cells.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_cells"
    sys.modules.pop("own_cells", None)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(Made(lambda i: IMAGES[i]), id="arrays"),
        pytest.param(Made(lambda i: torch.from_numpy(IMAGES[i])[None]), id="tensors"),
        pytest.param(Made(lambda i: IMAGES[i].astype(np.float32) / 255), id="floats"),
        pytest.param(Made(lambda i: Image.fromarray(IMAGES[i])), id="pictures"),
        pytest.param(Made(lambda i: {"scan": IMAGES[i]}), id="mappings"),
        pytest.param([*IMAGES], id="list"),
        pytest.param(Stream(), id="stream"),
    ],
)
def test_images_of_every_form_are_the_same_pixels(look, data) -> None:
    """Each item is its image."""
    with given(data) as address:
        survey, block = look(address)
    np.testing.assert_array_equal(block.examples, IMAGES.reshape(30, 20))
    assert survey.schema.shape == (1, 4, 5)


def test_labels_and_attributes_stand_beside_the_image(look) -> None:
    """A label is the class, and named values are attributes; the others are said to be left aside."""
    data = Made(lambda i: {"image": IMAGES[i], "label": "ab"[i % 2], "age": i, "site": "xyz"[i % 3], "note": "n"})
    with given(data) as address:
        survey, _ = look(address, attributes=["age", "site"])
    assert (survey.classes, survey.labels[:3].tolist()) == (("a", "b"), [0, 1, 0])
    assert [column.name for column in survey.attributes] == ["age", "site"]
    assert survey.attribute_values[4].tolist() == [4, 1]
    assert survey.notes == ("left aside beside the images: note. Use --set attributes=['note']",)


def test_class_names_are_the_datasets_own(look) -> None:
    """Datasets of torchvision have them as `classes`."""
    data = Made(lambda i: (IMAGES[i], torch.tensor(i % 2)))
    data.classes = ["cat", "dog", "eel"]
    with given(data) as address:
        assert look(address)[0].classes == ("cat", "dog", "eel")


def test_rows_take_the_type_that_holds_all_values(look) -> None:
    """A mapping of values is a row; whole numbers before fractions, and gaps at first, are no other type."""
    data = Made(lambda i: {"size": i if i < 600 else i + 0.5, "late": None if i < 600 else "ab"[i % 2]}, 700)
    with given(data) as address:
        survey, block = look(address)
    assert [one.name for one in survey.understood] == ["size", "late"]
    assert block.examples["size"].to_pylist()[598:602] == [598, 599, 600.5, 601.5]
    assert block.examples["late"].null_count == 600


def test_vectors_are_rows(look) -> None:
    """Of columns x_0, x_1, …."""
    with given(TensorDataset(torch.eye(3).repeat(10, 1), torch.arange(30) % 2)) as address:
        survey, _ = look(address, label="label")
    assert [one.name for one in survey.understood] == ["x_0", "x_1", "x_2", "label"]
    assert survey.classes == ("0", "1")


@pytest.mark.parametrize("name", ["Cells", "cells", "stream"])
def test_an_address_is_a_class_a_function_or_an_object(module, make, name) -> None:
    """All three hold the same items, so they are one dataset."""
    result = make(f"{module}:{name}")
    assert result.classes == ("0", "1", "2")
    assert sum(result.rows.values()) == 30
    assert result.dataset_id == make(f"{module}:Cells").dataset_id
    assert Dataset.open(result.uri).manifest.sources[0].path == f"{module}:{name}"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("own_cell:Cells", "own_cell:Cells: No module named 'own_cell'; install the package, .* PYTHONPATH"),
        ("own_cells:steam", r"module own_cells has no steam \(did you mean `stream`\?\)"),
        ("own_cells:broken", "expected a dataset with __len__ and __getitem__, .*, found builtins.int"),
        ("own_cells:Cells.__init__", "raises TypeError: .*It is called without arguments"),
    ],
)
def test_an_address_without_a_dataset_is_refused(module, look, address, said) -> None:
    """The message names the address and what would work."""
    with pytest.raises(DataError, match=said):
        look(address)


def other(index: int, value: Callable[[], Any]) -> Made:
    """Returns a dataset whose item 7 is another."""
    return Made(lambda i: value() if i == index else IMAGES[i])


def fail() -> None:
    """Fails."""
    raise ValueError("no such slide")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda: IMAGES[7, :3], "item 7: expected shape 4×5 like item 0, found 3×5. Use --resize"),
        (lambda: IMAGES[7] / 255, "item 7: expected uint8 like item 0, found float64"),
        (lambda: {"a": 1}, "item 7: expected an image like item 0, found a row of values"),
        (lambda: (IMAGES[7], 1), "item 7: expected no label like item 0, found 1"),
        (lambda: None, "item 7: expected an image, an image and its label, or a mapping, found None"),
        (fail, "item 7: raises ValueError: no such slide"),
    ],
    ids=["shape", "type", "row", "label", "none", "raises"],
)
def test_an_odd_item_is_named_and_can_be_left_out(make, value, said) -> None:
    """By its index; the others are a dataset."""
    with given(other(7, value)) as address:
        with pytest.raises(DataError, match=said):
            make(address)
        result = make(address, on_bad="quarantine")
    assert (result.rejected, sum(result.rows.values())) == (1, 29)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Made(lambda i: IMAGES[i], 0), "0 items, expected at least one"),
        (Made(lambda i: IMAGES[i], 31), "__len__ says 31 items, and item 30 raises IndexError"),
        (Made(lambda i: np.random.default_rng().random((4, 5))), "two readings of item 0 differ; .* augmentation"),
        (
            Made(lambda i: IMAGES[i] / 100 - 1),
            "images of numbers from -1 to 1.55, expected 0 to 1. Leave out what norm",
        ),
        (Made(lambda i: {"a": i if i < 20 else "q"}), "item 20: column 'a': expected int64 .*, found str 'q'"),
        (Made(lambda i: {"a": IMAGES[i], "b": IMAGES[i]}), r"2 images \(a, b\). Use --set image=NAME"),
        (DataLoader([*IMAGES]), "a DataLoader gives batches, expected a dataset. Give its own: loader.dataset"),
    ],
    ids=["empty", "length", "random", "normalized", "types", "images", "batches"],
)
def test_a_dataset_that_cannot_be_read_is_refused(look, data, said) -> None:
    """In a sentence that names the item or the part."""
    with pytest.raises(DataError, match=said), given(data) as address:
        look(address)


@pytest.mark.parametrize("is_image", [True, False])
def test_an_item_that_changes_later_is_refused(look, is_image) -> None:
    """What is written is what was surveyed, so the second reading must give the same."""
    read: list[int] = []

    def item(index: int) -> Any:
        read.append(index)
        changed = index == 9 and read.count(9) > 1
        return IMAGES[index] ^ changed if is_image else {"a": index % 7 + changed}

    with pytest.raises(DataError, match="two readings of item 9 differ"), given(Made(item)) as address:
        look(address)
