"""The transform of a column of numbers.

Shapes: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch import Tensor

from vae.data.schema import WHOLE, Column

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"bool": "bool"} | {f"{sign}int{bits}": "int64" for sign in ("", "u") for bits in (8, 16, 32, 64)}
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
        import pandas as pd

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
        import pandas as pd

        missing_N = np.isnan(values_N)
        kind = "int64" if self.column.type in WHOLE else KINDS.get(self.column.dtype)
        if kind is None:
            return values_N
        whole_N = self.rounded(np.where(missing_N, 0, values_N))
        if (np.abs(whole_N) >= 2.0**63).any():  # fractional numbers in the dataset can be beyond those
            return values_N
        whole_N = whole_N.astype(kind)
        array = pd.arrays.BooleanArray if kind == "bool" else pd.arrays.IntegerArray
        return array(whole_N, missing_N) if missing_N.any() else whole_N

    def generated(self, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns a model's values as the column can hold them, NaN where missing.

        They are rounded to its type, and not beyond the smallest and the largest one of the training split.
        """
        smallest, largest = self.column.smallest, self.column.largest
        return self.rounded(values_N if smallest is None else np.clip(values_N, smallest, largest))

    def rounded(self, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns values rounded to those that the column's type can hold, NaN where missing."""
        if KINDS.get(self.column.dtype) == "bool":
            return np.where(np.isnan(values_N), np.nan, values_N >= 0.5)
        is_whole = self.column.type in WHOLE or KINDS.get(self.column.dtype) == "int64"
        return np.round(values_N) if is_whole else values_N

    def parse(self, texts: Sequence[str], where: str) -> NDArray[np.float32]:
        """Reads the texts of conditions.

        Raises:
            ValueError: If a text is no finite number.
        """
        return np.array([self.number(text, where) for text in texts], np.float32)

    def number(self, text: str, where: str) -> float:
        """Reads a value as a person writes it.

        Raises:
            ValueError: If the text is no finite number.
        """
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

    def shown(self, value: float) -> str:
        """Returns the text of a value in a message."""
        return f"{value:g}"

    def features(self, values_N: Tensor) -> Tensor:
        """Returns the standardised values, [N,1]."""
        return ((values_N - self.column.mean) / self.column.std)[:, None]
