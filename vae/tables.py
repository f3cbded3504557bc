"""Rows of a table as people keep them, and as a model does: numbers in their own unit, categories by name or as codes.

Shapes: N rows, D columns.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae.examples import Column

MOST_LISTED = 50


def read_rows(rows: Any, columns: Sequence[Column], where: str) -> NDArray[np.float32]:
    """Values [N,D] in the order of the columns: categories as codes, NaN where missing.

    Args:
        rows: A data frame, a structured array, or names with their values, in any order; or an array [N,D] in the order of
            the columns. None, NaN and NA are missing.
        columns: Of the table.
        where: What asks, for the message.

    Raises:
        ValueError: If a column or a category is not known, a column is not there, or a number is none.
    """
    frame = _frame(rows, columns, where)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    _check_names(list(frame.columns), [column.name for column in columns], where)
    values_ND = np.empty((len(frame), len(columns)), np.float32)
    for number, column in enumerate(columns):
        read = _numbers if column.categories is None else _codes
        values_ND[:, number] = read(frame[column.name], column, where)
    return values_ND


def write_rows(values_ND: NDArray[np.float32], columns: Sequence[Column]) -> pd.DataFrame:
    """The data frame that `read_rows` reads as these values."""
    found: dict[str, Any] = {}
    for column, values in zip(columns, values_ND.T, strict=True):
        if column.categories is None:
            found[column.name] = values
        else:
            names = np.array([*column.categories, None], object)  # the last is for what is missing
            found[column.name] = names[np.where(np.isnan(values), -1, values).astype(int)]
    return pd.DataFrame(found)


def _frame(rows: Any, columns: Sequence[Column], where: str) -> pd.DataFrame:
    if isinstance(rows, pd.DataFrame):
        return rows
    if isinstance(rows, Mapping) or getattr(getattr(rows, "dtype", None), "names", None):
        try:
            return pd.DataFrame(rows)
        except ValueError as error:
            raise ValueError(f"{where}: these columns are no table: {error}") from None
    array = np.array(rows, object) if isinstance(rows, Sequence) else np.asarray(rows)  # lists keep what they hold
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise ValueError(
            f"{where}: expected a data frame, or an array of shape (N, {len(columns)}) with the columns "
            f"{_listed([column.name for column in columns])}; found shape {array.shape}"
        )
    return pd.DataFrame(array, columns=[column.name for column in columns])


def _check_names(found: Sequence[str], names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in found]
    faults = []
    for name in dict.fromkeys(found):
        if name not in names:
            faults.append(f"unknown column {name!r}{_nearest(name, missing or names)}")
        elif found.count(name) > 1:
            faults.append(f"column {name!r} is there {found.count(name)} times")
    faults += [f"column {name!r} is missing" for name in missing]
    if faults:
        raise ValueError(f"{where}: {_listed(faults)}; expected the columns {_listed(names)}")


def _numbers(values: Any, column: Column, where: str) -> NDArray[np.float64]:
    missing = values.isna()
    series: Any = pd.to_numeric(values, errors="coerce")
    numbers = series.to_numpy(np.float64, na_value=np.nan)
    wrong = ~(np.abs(numbers) <= np.finfo(np.float32).max) & ~missing.to_numpy()
    if wrong.any():
        example = values.iloc[int(wrong.argmax())]
        raise ValueError(
            f"{where}: column {column.name!r}: expected numbers, found {str(example)!r}; None or NaN is missing"
        )
    return numbers


def _codes(values: Any, column: Column, where: str) -> NDArray[np.float32]:
    assert column.categories is not None
    codes = {category: code for code, category in enumerate(column.categories)}
    codes_N = np.full(len(values), np.nan, np.float32)
    found = values.to_numpy(object)
    for row in np.flatnonzero(values.notna().to_numpy()):
        text = str(found[row])
        if text not in codes:
            # pandas keeps whole numbers as fractional ones where some are missing.
            text = text.removesuffix(".0")
        if text not in codes:
            raise ValueError(
                f"{where}: column {column.name!r}: unknown category {str(found[row])!r}"
                f"{_nearest(text, column.categories)}; expected {_listed(column.categories)}"
            )
        codes_N[row] = codes[text]
    return codes_N


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MOST_LISTED])
    return listed if len(names) <= MOST_LISTED else f"{listed} … ({len(names):,} in all)"
