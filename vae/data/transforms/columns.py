"""Transforms of one column, one class for each kind: numbers and categories.

A transform converts a column's values between five forms: float64 in the column's unit or as codes (NaN where missing), as
Parquet stores them, as callers write them, as text in a condition, and as the features that a condition gives a model.

Shapes: N rows, F features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vae.data.schema import Column
from vae.errors import CorruptData, did_you_mean

MOST_LISTED = 50
"""Names that a message lists."""
_KINDS = {"bool": "bool"} | {f"{sign}int{bits}": "int64" for sign in ("", "u") for bits in (8, 16, 32, 64)}
"""NumPy types of the Arrow types that are neither fractional numbers nor text."""


class Numbers:
    """Transform of a numeric column."""

    num_features = 1
    """Number of features that the column adds to a condition."""

    def __init__(self, column: Column) -> None:
        self.column = column

    def from_arrow(self, stored: pa.ChunkedArray) -> NDArray[np.float64]:
        """Returns the values that a shard stores."""
        return pc.cast(stored, pa.float64(), safe=False).to_numpy(zero_copy_only=False)

    def to_arrow(self, values_N: NDArray[np.float64], given: pa.Array | None = None) -> pa.Array:
        """Returns values as a shard stores them.

        Args:
            values_N: Values, NaN where missing.
            given: Stored values that these were made from. A number equal to its stored one keeps all digits of that, also
                a whole one above 2⁵³.
        """
        kind, missing_N = pa.type_for_alias(self.column.dtype), np.isnan(values_N)
        numbers_N = np.where(missing_N, 0, values_N)
        if pa.types.is_boolean(kind):
            array = pa.array(numbers_N >= 0.5, mask=missing_N)
        elif pa.types.is_integer(kind):
            limits = np.iinfo(kind.to_pandas_dtype())
            # The largest of 64 bits is no float64: the next below is.
            top = float(limits.max) if limits.bits < 64 else np.nextafter(float(limits.max), 0)
            array = pa.array(np.rint(numbers_N).clip(limits.min, top), mask=missing_N).cast(kind, safe=False)
        else:
            array = pa.array(numbers_N, mask=missing_N).cast(kind, safe=False)
        if given is None:
            return array
        same = pc.equal(  # pyright: ignore[reportAttributeAccessIssue]
            pc.cast(given, pa.float64(), safe=False), pa.array(values_N)
        )
        return pc.if_else(pc.fill_null(same, False), given, array)  # pyright: ignore[reportAttributeAccessIssue]

    def read(self, values: pd.Series, where: str) -> NDArray[np.float64]:
        """Reads a caller's numbers.

        Raises:
            ValueError: If a value is no number.
        """
        series: Any = pd.to_numeric(values, errors="coerce")
        numbers_N = series.to_numpy(np.float64, na_value=np.nan)
        wrong_N = ~(np.abs(numbers_N) <= np.finfo(np.float32).max) & ~values.isna().to_numpy()
        if wrong_N.any():
            row = int(wrong_N.argmax())
            raise ValueError(
                f"{where}: column {self.column.name!r}, row {row}: expected numbers, found {str(values.iloc[row])!r}; "
                "None or NaN is missing"
            )
        return numbers_N

    def write(self, values_N: NDArray[np.float64]) -> Any:
        """Returns values in the type that the dataset has; missing ones stay missing."""
        missing_N, kind = np.isnan(values_N), _KINDS.get(self.column.dtype)
        if kind is None:
            return values_N
        whole_N = self.rounded(np.where(missing_N, 0, values_N)).astype(kind)
        array = pd.arrays.BooleanArray if kind == "bool" else pd.arrays.IntegerArray
        return array(whole_N, missing_N) if missing_N.any() else whole_N

    def rounded(self, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns values rounded to those that the dataset's type can hold, NaN where missing."""
        match _KINDS.get(self.column.dtype):
            case "bool":
                return np.where(np.isnan(values_N), np.nan, values_N >= 0.5)
            case "int64":
                return np.round(values_N)
            case _:
                return values_N

    def parse(self, texts: Sequence[str], where: str) -> NDArray[np.float32]:
        """Reads the texts of conditions.

        Raises:
            ValueError: If a text is no finite number.
        """
        return np.array([self._number(text, where) for text in texts], np.float32)

    def _number(self, text: str, where: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{where}: {self.column.name} must be a number, got {text!r}")
        return number

    def text(self, value: float) -> str:
        """Returns the text of a value in a condition."""
        return str(np.float32(value))

    def features(self, values_N: Tensor) -> Tensor:
        """Returns the standardised values, [N,1]."""
        return ((values_N - self.column.mean) / self.column.std)[:, None]


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
        kind = _KINDS.get(self.column.dtype)
        named = self._named(values_N)
        return named if kind is None or np.isnan(values_N).any() else named.astype(kind)

    def _named(self, values_N: NDArray[np.float64]) -> NDArray[Any]:
        """Returns the categories of codes as values of the dataset's type; None where missing."""
        values = np.array([*map(self._value, self.names), None], object)
        return values[np.where(np.isnan(values_N), -1, values_N).astype(int)]

    def _value(self, name: str) -> Any:
        match _KINDS.get(self.column.dtype):
            case "bool":
                return name.lower() == "true"
            case "int64":
                return int(name)
            case _:
                return name

    def rounded(self, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the codes as they are."""
        return values_N

    def parse(self, texts: Sequence[str], where: str) -> NDArray[np.float32]:
        """Reads the texts of conditions.

        Raises:
            ValueError: If a text is none of the categories.
        """
        if unknown := sorted(set(texts) - self.codes.keys()):
            raise ValueError(
                f"{where}: unknown {self.column.name} {', '.join(unknown)}: expected {', '.join(self.names)}"
            )
        return np.array([self.codes[text] for text in texts], np.float32)

    def text(self, value: float) -> str:
        """Returns the text of a value in a condition."""
        return self.names[int(value)]

    def features(self, values_N: Tensor) -> Tensor:
        """Returns the codes as one-hot vectors, [N,F]."""
        return F.one_hot(values_N.long(), len(self.names)).float()


@lru_cache(maxsize=4096)
def transform_of_column(column: Column) -> Numbers | Categories:
    """Returns the transform of a column."""
    return Numbers(column) if column.categories is None else Categories(column)


def recoded(values_N: NDArray[Any], source: tuple[str, ...] | None, target: tuple[str, ...] | None) -> NDArray[Any]:
    """Returns codes of one column's categories as those of another's, NaN where that lacks the category."""
    if source is None or target is None or source == target:
        return values_N
    codes = np.array([*(target.index(name) if name in target else np.nan for name in source), np.nan])
    return codes[np.where(np.isnan(values_N), -1, values_N).astype(int)]


def listed(names: Sequence[str]) -> str:
    """Returns the first names of many in words, with their number."""
    shown = ", ".join(names[:MOST_LISTED])
    return shown if len(names) <= MOST_LISTED else f"{shown} … ({len(names):,} in all)"
