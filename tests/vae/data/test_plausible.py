"""Absurd values: found where there are some, and not in the tails of real columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from tests.conftest import DEFAULT_TEST_DATA
from vae.data.missing import MissingNotAtRandom, fit_logistic
from vae.data.parquet import Dataset
from vae.data.plausible import FACTOR, MOST_ABSURD, AbsurdValue, Distances, absurd_values, medians
from vae.data.schema import Column
from vae.data.statistics import example_spec

Array = NDArray[np.float64]


def largest_plausible(values_N: Array, block: int = 1000) -> float:
    """The largest plausible distance from the median of one column."""
    distances = Distances(medians(values_N[:, None]))
    for start in range(0, len(values_N), block):
        distances.add(values_N[start : start + block, None])
    return distances.largest_plausible().item()


def by_sorting(values_N: Array) -> float:
    """The same by the rule's own words: sort all distances, and look for the lowest gap in the upper hundredth."""
    observed_N = values_N[~np.isnan(values_N)]
    d = np.sort(np.abs(observed_N - np.median(observed_N)))
    d = d[d > 0]
    first = next(
        (n for n in range(1, len(d)) if d[n] > FACTOR * d[n - 1] and len(d) - n <= MOST_ABSURD * len(d)), len(d)
    )
    return d[first - 1]


REAL: dict[str, Callable[[np.random.Generator], Array]] = {
    "normal": lambda rng: rng.normal(size=20_000),
    "lognormal": lambda rng: rng.lognormal(0, 3, 20_000),
    "pareto": lambda rng: rng.pareto(1, 20_000),
    "cauchy": lambda rng: rng.standard_cauchy(20_000),
    "mostly zero": lambda rng: np.where(rng.random(20_000) < 0.08, rng.lognormal(8, 2, 20_000), 0),
    "rare events": lambda rng: np.where(rng.random(20_000) < 0.005, rng.lognormal(5, 4, 20_000), 0),
    "two values": lambda rng: (rng.random(20_000) < 0.001).astype(float),
    "rounding": lambda rng: rng.choice([0.4, 0.3, 0.1 + 0.2], 20_000, p=[0.004, 0.4, 0.596]),
    "few rows": lambda rng: np.append(rng.normal(size=50), 1e9),
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("seed", range(5))
def test_real_columns_hold_nothing_absurd(name: str, seed: int) -> None:
    """Heavy tails, columns of mostly one value, and outliers among few rows keep their farthest entry."""
    values_N = REAL[name](np.random.default_rng(seed))
    assert largest_plausible(values_N) == np.abs(values_N - np.median(values_N)).max()


TABLES = ("tables/abalone.csv", "tables/adult-train.csv", "tables/german.csv", "uci/wine_red.csv", "uci/wine_white.csv")


@pytest.mark.parametrize("name", TABLES)
def test_numbers_of_published_tables_are_all_plausible(name: str) -> None:
    """Such as Adult's capital gain, nine in ten of which are 0 and the largest 99,999."""
    file = Path(os.environ.get("BETALINE_TEST_DATA", DEFAULT_TEST_DATA)) / name
    if not file.is_file():
        pytest.skip(f"no {file}; set BETALINE_TEST_DATA to the folder that holds {name}")
    numbers = pd.read_csv(file, header=None).select_dtypes("number")
    assert numbers.shape[1]
    for column, values in numbers.astype(float).items():
        observed_N = values.dropna().to_numpy()
        assert largest_plausible(observed_N) == np.abs(observed_N - np.median(observed_N)).max(), column


@pytest.mark.parametrize("block", [1, 777, 20_000])
def test_blocks_of_any_size_find_what_sorting_finds(block: int) -> None:
    """Counting by powers of two, some rows at a time, is exact: 999-fold is no gap and 1,001-fold is one."""
    values_N = np.append(np.linspace(-1, 1, 2001), np.nan)
    for absurd in ([], [999.0], [1001.0], [-1001.0, 1e30], [500.0, 400_000.0], [500.0, 600_000.0], [2000.0] * 21):
        found = largest_plausible(np.append(values_N, absurd), block)
        assert found == by_sorting(np.append(values_N, absurd))
    assert found > 1999, "more than one in a hundred is a part of the data"


def publish_normal(
    publish_table: Callable[..., Dataset], folder: Path, changes: dict[int, float], rows: int
) -> Dataset:
    """Two standard normal columns, of which the first has other values in some rows; the last two hundred rows are those of
    validation and test.
    """
    rng = np.random.default_rng(1)
    price_N, size_N = rng.normal(size=(2, rows))
    price_N[list(changes)] = list(changes.values())
    table = pa.table({"price": price_N, "size": size_N, "year": np.full(rows, 2026)})
    columns = [Column(name, dtype=str(table[name].type)) for name in table.column_names]
    splits = {"train": rows - 200, "validation": 100, "test": 100}
    return publish_table(folder, table, columns, None, splits)


def test_absurd_training_value_is_named_and_leaves_the_scale_alone(publish_table, tmp_path) -> None:
    """1e6 among 2,000 standard normal entries is named with its row, and mean and deviation are those of the others."""
    dataset = publish_normal(publish_table, tmp_path, {1203: 1e6, 5: np.nan}, 2200)
    spec = example_spec(dataset)
    found = absurd_values(dataset, spec)
    assert found.named == (AbsurdValue("price", "train", 1203, 1203, "1e+06"),)
    assert (found.count, found.num_unnamed) == (1, 0)
    assert spec.columns is not None
    price, size, year = spec.columns
    stored_N = dataset.read_table("train")["price"].to_numpy()
    sound_N = np.delete(stored_N, 1203)
    np.testing.assert_allclose([price.mean, price.std], [np.nanmean(sound_N), np.nanstd(sound_N)], rtol=1e-12)
    assert price.missing_share == 1 / 2000
    assert size.highest is not None
    assert (year.lowest, year.highest) == (2026 - FACTOR, 2026 + FACTOR)


def test_values_of_other_splits_are_absurd_by_the_training_range(publish_table, tmp_path) -> None:
    """1e30 in the validation split, and -1e5 in the test split, are named by split, row and source row."""
    dataset = publish_normal(publish_table, tmp_path, {2017: 1e30, 2150: -1e5, 2151: 100.0}, 2200)
    found = absurd_values(dataset, example_spec(dataset))
    assert found.named == (
        AbsurdValue("price", "validation", 17, 2017, "1e+30"),
        AbsurdValue("price", "test", 50, 2150, "-100000"),
    )
    assert absurd_values(dataset, example_spec(dataset), ["train", "validation"]).count == 1


def test_only_the_first_twenty_are_named(publish_table, tmp_path) -> None:
    """All are counted; 20 have a name."""
    dataset = publish_normal(publish_table, tmp_path, dict.fromkeys(range(2000, 2050), 1e9), 2200)
    found = absurd_values(dataset, example_spec(dataset))
    assert [one.row for one in found.named] == list(range(20))
    assert (found.count, found.num_unnamed) == (50, 30)


def test_absurd_value_does_not_decide_what_is_hidden(publish_table, tmp_path) -> None:
    """Entries go missing not at random by the scale of the plausible ones."""
    dataset = publish_normal(publish_table, tmp_path, {7: 1e12}, 2200)
    logistic = fit_logistic(dataset, MissingNotAtRandom())
    assert logistic is not None
    assert 0.9 < logistic.std[0] < 1.1
    low, high = logistic.probability(np.array([[-2.0, 0, 2026], [2.0, 0, 2026]]))[:, 0]
    assert low < 0.3 < 0.7 < high


def test_images_hold_nothing_absurd(digits: Dataset) -> None:
    """Pixels have no plausible range."""
    assert absurd_values(digits, example_spec(digits)).count == 0
