"""The transform of a column of dates or of moments: seconds since 1970 UTC in a model, dates elsewhere.

Shapes: N rows.
"""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vae.data.transforms.numbers import Numbers

if TYPE_CHECKING:
    import pandas as pd

DAY_SECONDS = 86_400
_MOST_SECONDS = 9e12
"""Seconds from 1970 that int64 holds in microseconds."""


class Times(Numbers):
    """Transform of a column of times.

    A model's times are rounded to whole days where the dataset's type is `date32[day]`, else to microseconds. Callers give
    dates as text in ISO 8601, as objects of datetime, pandas or NumPy, or as seconds since 1970 UTC. A time without a zone
    is UTC.
    """

    @property
    def unit_seconds(self) -> float:
        """Smallest difference of two times in the dataset."""
        return DAY_SECONDS if self.column.dtype.startswith("date") else 1e-6

    def from_arrow(self, stored: pa.ChunkedArray) -> NDArray[np.float64]:
        """Returns the seconds of the times that a shard stores."""
        moments = pc.cast(pc.cast(stored, pa.timestamp("us")), pa.int64())
        return moments.to_numpy(zero_copy_only=False).astype(np.float64) / 1e6

    def to_arrow(self, values_N: NDArray[np.float64], given: pa.Array | None = None) -> pa.Array:
        """Returns times as a shard stores them."""
        moments = pa.array(self._moments(values_N), pa.timestamp("us"))
        return moments.cast(pa.type_for_alias(self.column.dtype), safe=False)

    def read(self, values: pd.Series, where: str) -> NDArray[np.float64]:
        """Reads a caller's times.

        Raises:
            ValueError: If a value is no time.
        """
        import pandas as pd

        given = values.dropna()
        if all(isinstance(value, Real) for value in given):
            return super().read(values, where)
        moments: Any = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        wrong_N = moments.isna().to_numpy() & values.notna().to_numpy()
        if wrong_N.any():
            row = int(wrong_N.argmax())
            raise ValueError(
                f"{where}: column {self.column.name!r}, row {row}: expected dates such as 2024-03-01, found "
                f"{str(values.iloc[row])!r}; None or NaT is missing"
            )
        return _seconds(moments.dt.tz_localize(None).to_numpy())

    def write(self, values_N: NDArray[np.float64]) -> Any:
        """Returns times as datetime64 in microseconds, NaT where missing."""
        return self._moments(self.rounded(values_N))

    def rounded(self, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns times rounded to those that the dataset's type can hold, NaN where missing."""
        return np.round(values_N / DAY_SECONDS) * DAY_SECONDS if self.unit_seconds == DAY_SECONDS else values_N

    def number(self, text: str, where: str) -> float:
        """Reads a value as a person writes it.

        Raises:
            ValueError: If the text is no date.
        """
        import pandas as pd

        moment = pd.to_datetime(text.strip(), errors="coerce", utc=True, format="ISO8601")
        if pd.isna(moment):
            raise ValueError(f"{where}: {self.column.name} must be a date such as 2024-03-01, got {text!r}")
        return float(_seconds(np.array([moment.tz_localize(None).to_datetime64()]))[0])

    def text(self, value: float) -> str:
        """Returns a time in ISO 8601, to a day or a second."""
        (moment,) = self.write(np.array([value], np.float64))
        return str(moment.astype("datetime64[D]" if self.unit_seconds == DAY_SECONDS else "datetime64[s]"))

    def shown(self, value: float) -> str:
        """Returns a time in ISO 8601, one beyond the years that microseconds reach as the nearest of those."""
        return self.text(min(max(value, -_MOST_SECONDS), _MOST_SECONDS))

    def _moments(self, values_N: NDArray[np.float64]) -> NDArray[np.datetime64]:
        """Returns times in microseconds, NaT where missing."""
        missing_N = np.isnan(values_N)
        whole_N = np.rint(np.where(missing_N, 0, values_N) * 1e6).astype(np.int64)
        return np.where(missing_N, np.datetime64("NaT"), whole_N.astype("datetime64[us]"))


def _seconds(moments_N: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Returns times as seconds since 1970, NaN where missing."""
    seconds_N = moments_N.astype("datetime64[us]").astype(np.int64) / 1e6
    return np.where(np.isnat(moments_N), np.nan, seconds_N)
