"""Transforms of one column, one class for each kind: numbers, times and categories.

A transform converts a column's values between five forms: float64 in the column's unit or as codes (NaN where missing), as
Parquet stores them, as callers write them, as text in a condition, and as the features that a condition gives a model.

Shapes: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.schema import Column
from vae.data.transforms.numbers import KINDS, Numbers
from vae.data.transforms.times import Times
from vae.errors import CorruptData, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

NULLABLE = {"bool": "boolean", "int64": "Int64"}
"""pandas' types with missing values, by NumPy's types."""
MOST_LISTED = 50
"""Names that a message lists."""


class Categories:
    """Transform of a categorical column."""

    def __init__(self, column: Column) -> None:
        assert column.categories is not None, "the column holds categories"
        self.column, self.names = column, column.categories
        self.codes = {name: code for code, name in enumerate(self.names)}
        self.num_features = len(self.names)

    def from_arrow(self, stored: pa.ChunkedArray) -> NDArray[np.float64]:
        """Returns the codes that a shard stores.

        Raises:
            CorruptData: If a category is none of the column's.
        """
        pieces = [np.empty(0)]
        for chunk in stored.chunks:
            encoded = chunk.dictionary_encode()
            names = [str(value) for value in encoded.dictionary.to_pylist()]
            if unknown := [name for name in names if name not in self.codes]:
                raise CorruptData(
                    f"column {self.column.name!r} holds {unknown[0]!r}, which is none of its {len(self.codes)} categories"
                )
            codes = np.array([*(self.codes[name] for name in names), np.nan])
            pieces.append(codes[encoded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)])
        return np.concatenate(pieces)

    def to_arrow(self, values_N: NDArray[np.float64], given: pa.Array | None = None) -> pa.Array:
        """Returns codes as a shard stores their categories."""
        return pa.array(self._named(values_N), from_pandas=True).cast(pa.type_for_alias(self.column.dtype))

    def read(self, values: pd.Series, where: str) -> NDArray[np.float64]:
        """Reads a caller's categories.

        Raises:
            ValueError: If a value is none of the categories.
        """
        codes_N = np.full(len(values), np.nan)
        texts = values.to_numpy(object)
        for row in np.flatnonzero(values.notna().to_numpy()):
            text = str(texts[row])
            if isinstance(texts[row], bool | np.bool_):
                text = next((name for name in self.names if name.lower() == text.lower()), text)
            if text not in self.codes:
                # pandas keeps whole numbers as fractional ones where some are missing.
                text = text.removesuffix(".0")
            if text not in self.codes:
                raise ValueError(
                    f"{where}: column {self.column.name!r}, row {row}: unknown category {str(texts[row])!r}"
                    f"{did_you_mean(text, self.names)}; expected {listed(self.names)}"
                )
            codes_N[row] = self.codes[text]
        return codes_N

    def write(self, values_N: NDArray[np.float64]) -> Any:
        """Returns values in the type that the dataset has; missing ones stay missing."""
        import pandas as pd

        kind = KINDS.get(self.column.dtype)
        named = self._named(values_N)
        if kind is None:
            return named
        return pd.array(named, NULLABLE[kind]) if np.isnan(values_N).any() else named.astype(kind)

    def _named(self, values_N: NDArray[np.float64]) -> NDArray[Any]:
        """Returns the categories of codes as values of the dataset's type; None where missing."""
        values = np.array([*map(self._value, self.names), None], object)
        return values[np.where(np.isnan(values_N), -1, values_N).astype(int)]

    def _value(self, name: str) -> Any:
        match KINDS.get(self.column.dtype):
            case "bool":
                return name.lower() == "true"
            case "int64":
                return int(name)
            case _:
                return name

    def generated(self, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns a model's codes as they are."""
        return values_N

    def parse(self, texts: Sequence[str], where: str) -> NDArray[np.float32]:
        """Reads the texts of conditions.

        Raises:
            ValueError: If a text is none of the categories.
        """
        if unknown := sorted(set(texts) - self.codes.keys()):
            raise ValueError(f"{where}: unknown {self.column.name} {listed(unknown)}: expected {listed(self.names)}")
        return np.array([self.codes[text] for text in texts], np.float32)

    def text(self, value: float) -> str:
        """Returns the text of a value in a condition."""
        return self.names[int(value)]

    def shown(self, value: float) -> str:
        """Returns the text of a value in a message."""
        return self.text(value)

    def features(self, values_N: Tensor) -> Tensor:
        """Returns the codes as one-hot vectors, [N,F]."""
        return (values_N.long()[..., None] == torch.arange(len(self.names), device=values_N.device)).float()


@lru_cache(maxsize=4096)
def transform_of_column(column: Column) -> Numbers | Categories:
    """Returns the transform of a column."""
    if column.categories is not None:
        return Categories(column)
    return Times(column) if column.type == "time" else Numbers(column)


def recoded(values_N: NDArray[Any], source: tuple[str, ...] | None, target: tuple[str, ...] | None) -> NDArray[Any]:
    """Returns codes of one column's categories as those of another's, NaN where that lacks the category."""
    if source is None or target is None or source == target:
        return values_N
    places = {name: code for code, name in enumerate(target)}
    codes = np.array([*(places.get(name, np.nan) for name in source), np.nan])
    return codes[np.where(np.isnan(values_N), -1, values_N).astype(int)]


def listed(names: Sequence[str]) -> str:
    """Returns the first names of many in words, with their number."""
    shown = ", ".join(names[:MOST_LISTED])
    return shown if len(names) <= MOST_LISTED else f"{shown} … ({len(names):,} in all)"
