"""Transforms: what a dataset stores, a model scores and a caller gets are the same values."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from vae.data.binarization import Binarization
from vae.data.schema import Column, ExampleSpec
from vae.data.transforms import TableTransform, transform_of, transform_of_column
from vae.draws import RowDraws
from vae.errors import DataError
from vae.seeds import Stream

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


def table_of(columns: Sequence[Column]) -> TableTransform:
    return TableTransform(ExampleSpec.of_table(columns), columns)


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
    (first, none), (second, _) = (
        transform_of(IMAGES).prepare(pixels, policy, RowDraws(seed, Stream.STEP)) for seed in (1, 2)
    )
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
    spread = table_of(columns).write_spread(torch.tensor([[0.5, 0.25], [2.0, 0.75]]))
    assert spread.to_dict("list") == {"age": [5.0, 20.0], "colour": [0.25, 0.75]}


def test_generated_values_keep_the_bounds_of_the_data() -> None:
    """A model's numbers are not beyond the training split's, and whole where the type says so, also in a double column."""
    columns = [
        Column("age", mean=40, std=10, type="count", smallest=17, largest=90),
        Column("pay", mean=5, std=2, smallest=0.5, largest=9.5),
    ]
    transform = table_of(columns)
    x = torch.tensor([[-9.0, -9.0], [0.123, 0.1], [9.0, 9.0]])
    assert transform.restore(x).round(6).tolist() == [[17, 0.5], [41, 5.2], [90, 9.5]]
    written = transform.write(x)
    assert written["age"].dtype == np.int64
    assert written["age"].tolist() == [17, 41, 90]


DATES = (Column("day", dtype="date32[day]"), Column("at", dtype="timestamp[us]"))
MOMENT = dt.datetime(2024, 2, 29, 13, 30, 15, 250_001)


@pytest.mark.parametrize(
    "moment",
    [
        "2024-02-29T13:30:15.250001",
        "2024-02-29T14:30:15.250001+01:00",
        MOMENT,
        MOMENT.replace(tzinfo=dt.UTC),
        pd.Timestamp(MOMENT),
        np.datetime64(MOMENT),
        MOMENT.replace(tzinfo=dt.UTC).timestamp(),
    ],
)
def test_times_are_read_in_every_form(moment: Any) -> None:
    """Text, objects and seconds of one moment are the same seconds since 1970 UTC; what is missing is NaN."""
    frame = pd.DataFrame({"day": [dt.date(2024, 2, 29), None], "at": pd.Series([moment, None], dtype=object)})
    read = table_of(DATES).values_of(frame, "impute")
    assert read.tolist()[0] == [1709164800.0, 1709213415.250001]
    assert np.isnan(read[1]).all()


def test_times_come_back_as_they_were_stored() -> None:
    """Days and microseconds survive a shard, a model's unit and a caller's frame; gaps stay gaps."""
    table = pa.table(
        {"day": pa.array([MOMENT.date(), None], pa.date32()), "at": pa.array([MOMENT, None], pa.timestamp("us"))}
    )
    transform = table_of(DATES)
    values = transform.from_arrow(table, slice(0, 2))
    stored = pa.table(transform.to_arrow(values), names=["day", "at"])
    assert stored.equals(table)
    frame = transform.write_values(values)
    assert [str(kind) for kind in frame.dtypes] == ["datetime64[us]"] * 2
    assert frame.iloc[0].tolist() == [pd.Timestamp(MOMENT.date()), pd.Timestamp(MOMENT)]
    assert frame.iloc[1].isna().all()
    np.testing.assert_array_equal(transform.values_of(frame, "score"), values)
    drawn = transform.restore(torch.tensor([[values[0, 0] + 40_000, values[0, 1]]], dtype=torch.float64))
    assert drawn[0].tolist() == values[0].tolist()


def test_texts_of_times_are_dates() -> None:
    """Conditions are written and read in ISO 8601; other texts are refused with an example of what is right."""
    day, at = (transform_of_column(column) for column in DATES)
    assert day.parse(["2024-02-29"], "generate").tolist() == [1709164800.0]
    assert (day.text(1709164800.0), at.text(1709213415.0)) == ("2024-02-29", "2024-02-29T13:30:15")
    with pytest.raises(ValueError, match="day must be a date such as 2024-03-01, got 'soon'"):
        day.parse(["soon"], "generate")
    with pytest.raises(ValueError, match="row 1: expected dates such as 2024-03-01, found 'soon'"):
        day.read(pd.Series(["2024-02-29", "soon"]), "impute")


def test_messages_show_times_as_dates(caplog: pytest.LogCaptureFixture) -> None:
    """An absurd date is named as a date, with the range around it; so is one that costs much."""
    noon = dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC).timestamp()
    column = Column("at", mean=noon, std=3600, dtype="timestamp[us]", lowest=noon - 1e13, highest=noon + 86_400)
    transform = table_of((column,))
    transform.take(torch.tensor([[noon + 2 * 86_400]], dtype=torch.float64), "impute")
    assert "2024-03-02T12:00:00 is not within -283229-" in caplog.text
    assert caplog.text.rstrip().endswith("to 2024-03-01T12:00:00")
    assert transform.costly(torch.zeros(1, 1), 0, 0) == (", column 'at', holds 2024-02-29T12:00:00 and", "")
