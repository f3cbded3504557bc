"""A caller's rows of a table as a data frame, whatever library they come from.

Shapes: N rows, D columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vae.data.transforms.columns import listed
from vae.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd


def frame_of(rows: Any, names: Sequence[str], where: str, *, warn: bool = True) -> pd.DataFrame:
    """Returns rows as a data frame with at least the columns of a table, in any order.

    Args:
        rows: A data frame of pandas or Polars, a table or a record batch of Arrow, a structured array, names with their
            values, a list of such rows, or an array [N,D] in the order of the columns.
        names: Names of the columns.
        where: Name of the request in messages.
        warn: Whether to warn of columns that the table does not have, which are ignored.

    Raises:
        ValueError: If a column is missing or repeated, or the rows are no table.
    """
    frame = _as_frame(rows, names, where)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    given = list(frame.columns)
    missing, known = [name for name in names if name not in given], set(names)
    others = [name for name in dict.fromkeys(given) if name not in known]
    faults = [f"unknown column {name!r}{did_you_mean(name, missing)}" for name in others if missing]
    faults += [f"column {name!r} is there {n} times" for name in names if (n := given.count(name)) > 1]
    faults += [f"column {name!r} is missing" for name in missing]
    if faults:
        raise ValueError(f"{where}: {listed(faults)}; expected the columns {listed(names)}")
    if others and warn:
        are = (
            "columns that the model does not have are"
            if len(others) > 1
            else "a column that the model does not have is"
        )
        warnings.warn(f"{where}: {are} ignored: {listed(others)}", stacklevel=2)
    return frame


def _as_frame(rows: Any, names: Sequence[str], where: str) -> pd.DataFrame:
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        return rows
    if hasattr(rows, "to_arrow"):  # Polars and others, which are not imported for it
        rows = rows.to_arrow()
    if hasattr(rows, "to_pandas"):
        return rows.to_pandas()
    records = isinstance(rows, Sequence) and len(rows) and all(isinstance(row, Mapping) for row in rows)
    if records or isinstance(rows, Mapping) or getattr(getattr(rows, "dtype", None), "names", None):
        one = isinstance(rows, Mapping) and rows and all(np.ndim(value) == 0 for value in rows.values())
        try:
            return pd.DataFrame([rows] if one else rows)
        except ValueError as error:
            raise ValueError(f"{where}: these columns are no table: {error}") from None
    array = np.array(rows, object) if isinstance(rows, Sequence) else np.asarray(rows)  # lists keep what they hold
    if array.ndim != 2 or array.shape[1] != len(names):
        raise ValueError(
            f"{where}: expected a data frame, or an array of shape (N, {len(names)}) with the columns {listed(names)}; "
            f"found shape {array.shape}"
        )
    return pd.DataFrame(array, columns=list(names))


def filled(given: pd.Series, answers: Any) -> pd.Series:
    """Returns given values with the answers in their gaps, in the type of the given ones."""
    import pandas as pd

    if isinstance(given.dtype, pd.CategoricalDtype):
        both = given.astype(object).where(given.notna(), answers)
        more = [name for name in pd.unique(both) if name not in given.cat.categories]
        return both.astype(pd.CategoricalDtype([*given.cat.categories, *more], given.cat.ordered))
    if pd.api.types.is_float_dtype(given.dtype) and pd.api.types.is_integer_dtype(answers.dtype):
        if (given.dropna() % 1 == 0).all():  # pandas keeps whole numbers with gaps as fractional ones
            return given.fillna(answers).astype(answers.dtype)
    elif given.dtype != object:
        answers = answers.astype(given.dtype)
    return given.where(given.notna(), answers)
