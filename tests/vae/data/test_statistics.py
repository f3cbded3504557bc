"""What a model is told of its data: shapes, names and scales, from observed training entries alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from vae.data import plausible, statistics
from vae.data.batches import Share
from vae.data.missing import MissingAtRandom, MissingCompletelyAtRandom, MissingNotAtRandom
from vae.data.moments import Moments
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.data.statistics import example_spec


def test_moments_do_not_depend_on_the_blocks() -> None:
    """Blocks of any size give NumPy's own mean and standard deviation of what is there, also far from zero."""
    rng = np.random.default_rng(0)
    values = rng.normal([0, 1e6, -3], [1, 0.1, 1e-6], (1000, 3))
    values[rng.random(values.shape) < 0.3] = np.nan
    for size in (1, 7, 1000):
        moments = Moments(3)
        for start in range(0, 1000, size):
            moments.add(values[start : start + size])
        np.testing.assert_allclose(moments.mean, np.nanmean(values, axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.std, np.nanstd(values, axis=0), rtol=1e-6)


def test_moments_of_a_constant_and_of_nothing_are_harmless() -> None:
    """A constant's standard deviation is 1, whatever rounding makes of it; so is that of a column that is never there."""
    moments = Moments(2)
    for _ in range(10):
        moments.add(np.tile([0.1, np.nan], (33, 1)))
    assert moments.std.tolist() == [1, 1]
    np.testing.assert_allclose(moments.mean, [0.1, 0])


def test_example_spec_of_a_table(people: Dataset) -> None:
    """Numbers carry the moments of what is there in training, categories their names, and the constant a scale of 1."""
    spec = example_spec(people)
    values = people.read_rows("train", 0, 900).values.astype(np.float64)
    assert (spec.shape, spec.classes, spec.attributes) == ((4,), ("0", "1"), ())
    assert spec.columns is not None
    age, income, year, colour = spec.columns
    np.testing.assert_allclose([age.mean, income.mean], np.nanmean(values, 0)[:2], rtol=1e-9)
    np.testing.assert_allclose([age.std, income.std], np.nanstd(values, 0)[:2], rtol=1e-9)
    assert (year.mean, year.std) == (2026, 1)
    assert (colour.categories, colour.mean, colour.std) == (("blue", "green", "red"), 0, 1)
    assert [age.smallest, income.smallest] == np.nanmin(values, 0)[:2].tolist()
    assert [age.largest, income.largest] == np.nanmax(values, 0)[:2].tolist()
    assert (colour.smallest, colour.largest) == (None, None)


@pytest.mark.parametrize("missing", [MissingCompletelyAtRandom(), MissingAtRandom(share=0.7), MissingNotAtRandom()])
def test_example_spec_sees_what_the_model_sees(people: Dataset, missing) -> None:
    """Moments are of the entries that the model's own feed leaves, not of those that it hides."""
    spec = example_spec(people, missing)
    left = Share.of(people, "train", missing=missing).load(0, 900).values.double().numpy()
    assert spec.columns is not None
    for number, column in enumerate(spec.columns[:2]):
        np.testing.assert_allclose([column.mean, column.std], [np.nanmean(left[:, number]), np.nanstd(left[:, number])])


def test_example_spec_holds_no_more_of_a_longer_table(publish_table, tmp_path, monkeypatch) -> None:
    """The memory is that of the rows that curves are fitted to and of some blocks, however many rows there are."""
    num_rows, num_columns = 150_000, 4
    for module in (plausible, statistics):
        monkeypatch.setattr(module, "rows_per_block", lambda example: 2048)
    monkeypatch.setattr(statistics, "FIT_ROWS", 2048)
    values = np.random.default_rng(0).normal(size=(num_columns, num_rows))
    table = pa.table({f"x{number}": column for number, column in enumerate(values)})
    columns = [Column(name, dtype="double") for name in table.column_names]
    dataset = publish_table(tmp_path, table, columns, None, {"train": num_rows}, group_rows=8192)
    tracemalloc.start()
    try:
        example_spec(dataset)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < values.nbytes / 2


def test_example_spec_of_images_with_attributes(publish, tmp_path) -> None:
    """Images have no columns; their numeric attributes carry moments of the training split."""
    values = np.column_stack([np.linspace(0, 9, 10), np.arange(10) % 2]).astype(np.float32)
    values[3, 0] = np.nan
    columns = (
        Column("size", dtype="double"),
        Column("odd", ("no", "yes"), dtype="bool"),
    )
    dataset = publish(tmp_path, np.zeros((10, 3, 2, 4), np.uint8), None, {"train": 6, "test": 4}, 4, columns, values)
    spec = example_spec(dataset, MissingCompletelyAtRandom())
    assert (spec.shape, spec.classes, spec.columns) == ((3, 2, 4), None, None)
    size, odd = spec.attributes
    there = np.array([0, 1, 2, 4, 5.0])
    np.testing.assert_allclose([size.mean, size.std], [there.mean(), there.std()])
    assert (odd.name, odd.categories) == ("odd", ("no", "yes"))
