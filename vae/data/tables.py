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

from vae.data.schema import Column

MOST_LISTED = 50


def read_rows(rows: Any, columns: Sequence[Column], where: str) -> NDArray[np.float64]:
    """Returns values, float64 [N,D], in the order of the columns: categories as codes, NaN where missing.

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
    values_ND = np.empty((len(frame), len(columns)))
    for number, column in enumerate(columns):
        read = _numbers if column.categories is None else _codes
        values_ND[:, number] = read(frame[column.name], column, where)
    return values_ND


def write_rows(
    values_ND: NDArray[np.floating], columns: Sequence[Column], index: Mapping[str, Sequence[Any]] | None = None
) -> pd.DataFrame:
    """The data frame that `read_rows` reads as these values, in the types that the dataset has.

    Args:
        values_ND: Values, categories as codes. Of whole numbers the nearest is written.
        columns: Of the table.
        index: Names and values of levels whose product the rows are, the last one the quickest; else they are counted.
    """
    found = {column.name: _typed(values, column) for column, values in zip(columns, values_ND.T, strict=True)}
    frame = pd.DataFrame(found)
    return frame if index is None else frame.set_axis(pd.MultiIndex.from_product([*index.values()], names=[*index]))


def write_spread(std_ND: NDArray[np.float32], columns: Sequence[Column]) -> pd.DataFrame:
    """Standard deviations, which come standardised, in each column's unit; of categories √(1 − probability)."""
    units = [1.0 if column.categories else column.std for column in columns]
    return pd.DataFrame(std_ND.astype(np.float64) * units, columns=[column.name for column in columns])


def keep_observed(found: pd.DataFrame, rows: Any, columns: Sequence[Column], where: str) -> pd.DataFrame:
    """What was found for some rows, one or several times each, with every value that a row came with put back as it was.

    Args:
        found: N·M rows, the M of a row together.
        rows: The N rows, as `read_rows` takes them.
        columns: Of the table.
        where: What asks, for the message.
    """
    frame = _frame(rows, columns, where)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    kept = {}
    for column in columns:
        given = frame[column.name].repeat(len(found) // max(len(frame), 1)).set_axis(found.index)
        filled = found[column.name]
        if given.dtype != object and not isinstance(given.dtype, pd.CategoricalDtype):
            filled = filled.astype(given.dtype)
        kept[column.name] = given.where(given.notna(), filled)
    return pd.DataFrame(kept, index=found.index)


def _typed(values_N: NDArray[np.floating], column: Column) -> Any:
    """A column's values in the type that its dataset has; missing ones stay so."""
    missing_N = np.isnan(values_N)
    if column.categories is not None:
        names = np.array([*(_as_type(name, column.dtype) for name in column.categories), None], object)
        found = names[np.where(missing_N, -1, values_N).astype(int)]
        kind = _KINDS.get(column.dtype)
        return found if kind is None or missing_N.any() else found.astype(kind)
    if _KINDS.get(column.dtype) == "bool":
        return pd.arrays.BooleanArray(values_N >= 0.5, missing_N) if missing_N.any() else values_N >= 0.5
    if _KINDS.get(column.dtype) == "int64":
        whole_N = np.round(np.where(missing_N, 0, values_N).astype(np.float64)).astype(np.int64)
        return pd.arrays.IntegerArray(whole_N, missing_N) if missing_N.any() else whole_N
    return values_N.astype(np.float64)


_KINDS = {"bool": "bool"} | {f"{sign}int{bits}": "int64" for sign in ("", "u") for bits in (8, 16, 32, 64)}
"""Arrow types of columns that are no plain numbers or text, and what they are in pandas."""


def _as_type(name: str, dtype: str) -> Any:
    """A category's name as the value that it stands for."""
    match _KINDS.get(dtype):
        case "bool":
            return name.lower() == "true"
        case "int64":
            return int(name)
        case _:
            return name


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
        row = int(wrong.argmax())
        raise ValueError(
            f"{where}: column {column.name!r}, row {row}: expected numbers, found {str(values.iloc[row])!r}; None or NaN "
            "is missing"
        )
    return numbers


def _codes(values: Any, column: Column, where: str) -> NDArray[np.float64]:
    assert column.categories is not None
    codes = {category: code for code, category in enumerate(column.categories)}
    codes_N = np.full(len(values), np.nan)
    found = values.to_numpy(object)
    for row in np.flatnonzero(values.notna().to_numpy()):
        text = str(found[row])
        if isinstance(found[row], bool | np.bool_):
            text = next((name for name in codes if name.lower() == text.lower()), text)
        if text not in codes:
            # pandas keeps whole numbers as fractional ones where some are missing.
            text = text.removesuffix(".0")
        if text not in codes:
            raise ValueError(
                f"{where}: column {column.name!r}, row {row}: unknown category {str(found[row])!r}"
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
