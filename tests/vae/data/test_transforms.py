"""Transforms: what a dataset stores, a model scores and a caller gets are the same values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from vae.data.binarization import Binarization
from vae.data.schema import Column, ExampleSpec
from vae.data.transforms import transform_of
from vae.errors import DataError

IMAGES = ExampleSpec((1, 2, 3))
TABLE = ExampleSpec.of_table(
    (
        Column("colour", ("red", "green", "blue"), mean=0.9, std=0.7),  # of codes, which mean nothing
        Column("weight", mean=70.0, std=12.5),
        Column("smokes", ("no", "yes")),
        Column("height", mean=1.7, std=0.1),
    )
)
TYPED = ExampleSpec.of_table(
    (
        Column("x", dtype="double"),
        Column("n", dtype="int64"),
        Column("yes", dtype="bool"),
        Column("flag", ("False", "True"), dtype="bool"),
        Column("level", ("1", "2"), dtype="int32"),
    )
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_tables_are_standardised_and_keep_their_codes() -> None:
    """Numbers in standard deviations from the mean, codes as they are, missing entries 0 and not observed; and back."""
    values = torch.tensor([[2.0, 82.5, 1.0, math.nan], [math.nan, 70.0, math.nan, 1.6]], dtype=torch.float64)
    x, observed = transform_of(TABLE).prepare(values)
    torch.testing.assert_close(x, torch.tensor([[2.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, -1.0]]))
    assert observed is not None
    assert torch.equal(observed, ~values.isnan())
    torch.testing.assert_close(transform_of(TABLE).in_units(x)[observed], values[observed])


@pytest.mark.parametrize("policy", [None, "none", "static", "dynamic"])
def test_images_are_drawn_anew_only_where_dynamic(policy: Binarization | None) -> None:
    """Dynamic targets are binary and differ between draws; the others are pixels / 255 and take no draw."""
    pixels = torch.randint(256, (8, 1, 2, 3), generator=generator()).to(torch.uint8)
    (first, none), (second, _) = (transform_of(IMAGES).prepare(pixels, policy, generator(seed)) for seed in (1, 2))
    assert none is None
    if policy == "dynamic":
        assert set(first.unique().tolist()) == {0.0, 1.0}
        assert not torch.equal(first, second)
    else:
        assert torch.equal(first, pixels / 255)
        assert np.array_equal(transform_of(IMAGES).restore(first), pixels)


def test_images_are_restored_to_the_nearest_level() -> None:
    """Half a level up or down, clipped to the range; a pixel that is not finite is refused."""
    x = torch.tensor([0, 0.499 / 255, 0.501 / 255, 1, 1.2, -1]).view(1, 1, 2, 3)
    assert transform_of(IMAGES).restore(x).flatten().tolist() == [0, 0, 1, 255, 255, 0]
    with pytest.raises(DataError, match="1 of 6 pixels are not finite"):
        transform_of(IMAGES).restore(torch.where(x > 1, torch.nan, x))


def test_tables_are_stored_in_their_types_with_the_digits_of_unchanged_numbers() -> None:
    """Numbers keep the dataset's types; a whole number above 2⁵³ that did not change keeps all its digits."""
    given = pa.table({"x": [0.1, 0.2, None], "n": [2**53 + 1, 5, None], "yes": [True, False, None], "flag": [True] * 3,
                      "level": pa.array([1] * 3, pa.int32())})  # fmt: skip
    nan = math.nan
    values = np.array([[0.1, 2**53, 0.7, 1, 1], [0.7, 6.4, 0.2, 0, nan], [nan, nan, nan, nan, 0]])
    columns = [array.to_pylist() for array in transform_of(TYPED).to_arrow(values, given)]
    assert columns == [
        [0.1, 0.7, None],
        [2**53 + 1, 6, None],
        [True, False, None],
        [True, False, None],
        [2, None, 1],
    ]
    stored = pa.table(transform_of(TYPED).to_arrow(values), names=[column.name for column in TYPED.columns or ()])
    again = transform_of(TYPED).from_arrow(stored, slice(0, 3))
    np.testing.assert_array_equal(again, transform_of(TYPED).restore(torch.from_numpy(values)))


@pytest.mark.parametrize("names", [("level", "x"), ("x", "level")])
def test_rows_of_another_dataset_are_aligned_by_name(names: Sequence[str]) -> None:
    """Columns in another order, and categories by another code, are those of the schema; others count as missing."""
    known = ExampleSpec.of_table([Column("x"), Column("level", ("1", "2"))])
    columns: dict[str, Any] = {"x": Column("x"), "level": Column("level", ("2", "3", "1"))}
    values = {"x": [0.5, 1.5, 2.5, 3.5], "level": [0, 1, 2, math.nan]}
    data = ExampleSpec.of_table(columns[name] for name in names)
    aligned = transform_of(known).aligned(np.array([values[name] for name in names]).T, data)
    np.testing.assert_array_equal(aligned, [[0.5, 1], [1.5, math.nan], [2.5, 0], [3.5, math.nan]])


def test_spreads_are_in_the_units_of_the_columns() -> None:
    """A number's standard deviation is multiplied by its column's; a category's probability of being wrong stays."""
    columns = [Column("age", mean=40.0, std=10.0), Column("colour", ("blue", "red"), 0.5, 3.0)]
    spread = transform_of(ExampleSpec.of_table(columns)).write_spread(torch.tensor([[0.5, 0.25], [2.0, 0.75]]))
    assert spread.to_dict("list") == {"age": [5.0, 20.0], "colour": [0.25, 0.75]}
