"""The plausible range of each numeric column of a table, and the absurd values outside of it.

Shapes: N rows, D columns, P powers of two.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vae.data.manifest import SPLITS
from vae.data.moments import ROUNDING
from vae.data.parquet import Dataset, rows_per_block
from vae.data.rows import SOURCE_ROW
from vae.data.schema import ExampleSpec, plausible_bounds
from vae.data.transforms.columns import transform_of_column

FACTOR = 1000.0
"""An absurd value is more than this many times as far from the median as every plausible one."""
MOST_ABSURD = 0.01
"""Largest share of absurd entries among those that differ from the median: more of them are a part of the data."""
MOST_NAMED = 20
"""Absurd values that are named one by one."""
CENTRE_ROWS = 16_384
"""Rows of the training split, which ingest has shuffled, that the median is taken of."""
LEAST_ROWS, MOST_VALUES = 1 << 10, 1 << 25
"""Rows of a table of many columns that are enough for statistics, and values that are read at once where they suffice."""
_POWERS = 512
"""Powers of two that distances are counted by, from 2⁻²⁵⁶ on; smaller and larger distances count with the outermost."""


class Distances:
    """Distances of a table's entries from their column's centre, counted by powers of two.

    The smallest and the largest distance are kept for each power, so that gaps between neighbouring distances are exact
    while the memory stays the same, however many rows are added.
    """

    def __init__(self, centre_D: NDArray[np.float64]) -> None:
        shape = (len(centre_D), _POWERS)
        self.centre_D = centre_D
        self.count_DP = np.zeros(shape, np.int64)
        self.smallest_DP = np.full(shape, np.inf)
        self.largest_DP = np.zeros(shape)

    def add(self, values_ND: NDArray[np.float64]) -> None:
        """Counts some rows in; NaN is missing, and a distance within the rounding of the centre is none."""
        distance_ND = np.abs(values_ND - self.centre_D)
        row, column = np.nonzero(distance_ND > ROUNDING * np.abs(self.centre_D))
        distance = distance_ND[row, column]
        power = (np.frexp(distance)[1] + _POWERS // 2).clip(0, _POWERS - 1)
        np.add.at(self.count_DP, (column, power), 1)
        np.minimum.at(self.smallest_DP, (column, power), distance)
        np.maximum.at(self.largest_DP, (column, power), distance)

    def largest_plausible(self) -> NDArray[np.float64]:
        """Returns the largest plausible distance of each column, [D]; 0 where all entries are at the centre.

        It lies below the lowest gap of more than `FACTOR` with at most `MOST_ABSURD` of the distances above it.
        """
        return np.array([self._largest_plausible(column) for column in range(len(self.centre_D))])

    def _largest_plausible(self, column: int) -> float:
        count_P, smallest_P, largest_P = self.count_DP[column], self.smallest_DP[column], self.largest_DP[column]
        powers = np.flatnonzero(count_P)
        plausible, num_above = largest_P.max(), 0
        for lower, upper in reversed(list(pairwise(powers))):
            num_above += count_P[upper]
            if num_above > MOST_ABSURD * count_P.sum():
                break
            if smallest_P[upper] > FACTOR * largest_P[lower]:
                plausible = largest_P[lower]
        return float(plausible)

    def ranges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns the lowest and the highest plausible value of each column, [D] each.

        They are `FACTOR` times as far from the centre as the farthest plausible entry. Where all entries are alike, and the
        standard deviation counts as 1, so does that distance.
        """
        reach_D = self.largest_plausible()
        reach_D = FACTOR * np.where(reach_D > 0, reach_D, 1.0)
        return self.centre_D - reach_D, self.centre_D + reach_D


def medians(values_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the median of each column's observed entries, [D]; 0 where none is observed."""
    observed = (values_N[~np.isnan(values_N)] for values_N in values_ND.T)
    return np.array([np.median(values) if len(values) else 0.0 for values in observed])


def plausible_ranges(dataset: Dataset, num_rows: int | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the lowest and the highest plausible value of each column of a table, [D] each; -∞ and ∞ of categories.

    Sort the distances d of a column's entries in the training split from their median. The entries above a gap, where d
    grows more than 1,000-fold from one to the next, are absurd if they are at most 1 % of all d > 0. Heavy tails have no
    such gap. Entries that a run hides are looked at too: the range does not depend on what is hidden.

    Args:
        dataset: A table.
        num_rows: Number of rows of the training split to look at; all by default.

    Raises:
        CorruptData: If a shard is not what the manifest says.
    """
    columns, rows = dataset.manifest.example.columns or (), num_rows or dataset.num_rows("train")
    categorical_D = np.array([column.categories is not None for column in columns])
    if categorical_D.all():
        return np.full(len(columns), -np.inf), np.full(len(columns), np.inf)
    first_ND = dataset.read_rows(
        "train", 0, min(CENTRE_ROWS, max(LEAST_ROWS, MOST_VALUES // max(1, len(columns))), rows)
    ).values
    distances = Distances(medians(first_ND.astype(np.float64)))
    for block in dataset.blocks("train", 0, rows, rows_per_block(dataset.manifest.example)):
        distances.add(block.values.astype(np.float64))
    lowest_D, highest_D = distances.ranges()
    return np.where(categorical_D, -np.inf, lowest_D), np.where(categorical_D, np.inf, highest_D)


@dataclass(frozen=True)
class AbsurdValue:
    """A number outside of its column's plausible range."""

    column: str
    split: str
    row: int
    """Row number in the split, from 0."""
    source_row: int
    """Row number in the source that was ingested, from 0."""
    value: str
    """The number as messages show it; a time as a date."""


@dataclass(frozen=True)
class AbsurdValues:
    """The absurd values of a dataset."""

    named: tuple[AbsurdValue, ...]
    """The first `MOST_NAMED`, in the order of splits, rows and columns."""
    count: int
    """Number of all absurd values."""

    @property
    def num_unnamed(self) -> int:
        """Number of absurd values beyond those that are named."""
        return self.count - len(self.named)


def absurd_values(dataset: Dataset, spec: ExampleSpec, splits: Sequence[str] = SPLITS) -> AbsurdValues:
    """Finds the numbers of a table that training, validation and every use of the model treat as missing.

    Args:
        dataset: Examples without columns have none.
        spec: Says which range is plausible: that of `example_spec`, or of a model.
        splits: Splits to search.

    Raises:
        CorruptData: If a shard is not what the manifest says.
    """
    if not spec.columns:
        return AbsurdValues((), 0)
    lowest_D, highest_D = plausible_bounds(spec.columns)
    named: list[AbsurdValue] = []
    count = 0
    for split in splits:
        start = 0
        for block in dataset.blocks(split, 0, dataset.num_rows(split), rows_per_block(dataset.manifest.example)):
            rows, columns = np.nonzero((block.values < lowest_D) | (block.values > highest_D))
            count += len(rows)
            for row, column in zip(rows[: MOST_NAMED - len(named)].tolist(), columns.tolist(), strict=False):
                source_row = _source_row(dataset, split, start + row)
                shown = transform_of_column(spec.columns[column]).shown(float(block.values[row, column]))
                named.append(AbsurdValue(spec.columns[column].name, split, start + row, source_row, shown))
            start += len(block.values)
    return AbsurdValues(tuple(named), count)


def _source_row(dataset: Dataset, split: str, row: int) -> int:
    groups = dataset.row_groups(split)
    group = bisect_right([start for start, _ in groups], row) - 1
    return dataset.read_group(split, group)[SOURCE_ROW][row - groups[group][0]].as_py()
