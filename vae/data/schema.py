"""What one example is: an image or a row of a table, its classes and its attributes.

Shapes: B batch, C channels, H height, W width, D columns of a table, A attributes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Column:
    """A column of a table, or an attribute that comes beside an image."""

    name: str
    categories: tuple[str, ...] | None = None
    """Names of the values in the order of their codes; None for numbers."""
    mean: float = 0.0
    """Mean of a numeric column's observed, plausible entries in the training split; 0 for categories."""
    std: float = 1.0
    """Standard deviation of the same entries; 1 for a constant and for categories."""
    dtype: str = "double"
    """The Arrow type of its values in the dataset, for example `int64` or `string`."""
    missing_share: float = 0.0
    """Share of missing entries in the training split; absurd ones are not among them."""
    lowest: float | None = None
    """Smallest plausible value of a numeric column. A smaller one is absurd and counts as missing, in training, in scores
    and in use. None where any value is plausible."""
    highest: float | None = None
    """Largest plausible value, as `lowest`."""


@dataclass(frozen=True)
class Experience:
    """What a model's encoder met in training beside whole and clean examples."""

    missing: bool = False
    """Entries that were not there."""
    corruption: str | None = None
    """The kind of noise in the examples."""


@dataclass(frozen=True)
class ExampleSpec:
    """What one example is, as the dataset's manifest tells.

    Values are uint8 [B,C,H,W] for images and float64 [B,D] for tables: numbers in their own unit, categories as codes, NaN
    where missing. Attributes are float32 [B,A], encoded in the same way.
    """

    shape: tuple[int, ...]
    """(channels, height, width) of an image, (columns,) of a table."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of their indices; None for unlabelled data."""
    columns: tuple[Column, ...] | None = None
    """Of a table; None for images."""
    attributes: tuple[Column, ...] = ()

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> ExampleSpec:
        """What `dataclasses.asdict` gave and JSON has kept."""
        columns, classes = facts["columns"], facts["classes"]
        return cls(
            tuple(facts["shape"]),
            None if classes is None else tuple(classes),
            None if columns is None else _columns(columns),
            _columns(facts["attributes"]),
        )

    @property
    def num_values(self) -> int:
        """Pixels times channels, or columns."""
        return math.prod(self.shape)


def plausible_bounds(columns: Sequence[Column]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the lowest and the highest plausible value of each column, [D] each; -∞ and ∞ where any is plausible."""
    lowest = [-math.inf if column.lowest is None else column.lowest for column in columns]
    highest = [math.inf if column.highest is None else column.highest for column in columns]
    return np.array(lowest), np.array(highest)


def without_absurd(values_ND: NDArray[np.float64], columns: Sequence[Column]) -> NDArray[np.float64]:
    """Returns values [N,D] with NaN for those outside of their column's plausible range."""
    lowest_D, highest_D = plausible_bounds(columns)
    return np.where((values_ND >= lowest_D) & (values_ND <= highest_D), values_ND, np.nan)


def _columns(facts: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(
        Column(**{**column, "categories": None if column["categories"] is None else tuple(column["categories"])})
        for column in facts
    )
