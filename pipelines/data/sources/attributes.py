"""Attributes of images beside their class: columns of numbers and categories."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.data.sources.tables.columns import is_number, is_text
from vae.data.schema import Column
from vae.data.transforms import transform_of_column
from vae.errors import DataError


def survey_attributes(
    table: pa.Table, where: str, categorical: Collection[str]
) -> tuple[tuple[Column, ...], NDArray[np.float32] | None]:
    """Returns the columns, and their values [N,A]: numbers, and categories as codes; NaN is missing.

    Args:
        table: The attributes of every row of the source; null is missing.
        where: Name of the source in messages.
        categorical: Names of columns whose values are categories; columns of text always are.

    Raises:
        DataError: If a column is of another type, all missing, or holds infinite numbers.
    """
    if not table.num_columns:
        return (), None
    columns = []
    for name in table.column_names:
        values = table[name]
        if not (is_number(values.type) or is_text(values.type)):
            raise DataError(f"{where}: expected numbers, booleans or text in attribute {name!r}, found {values.type}")
        if len(values) and values.null_count == len(values):
            raise DataError(f"{where}: every value of attribute {name!r} is missing. Leave it out")
        columns.append(_column(name, values, is_category=name in categorical))
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        values = [transform_of_column(column).from_arrow(table[column.name]) for column in columns]
        encoded = np.stack(values, axis=1).astype(np.float32)
    for column, values_N in zip(columns, encoded.T, strict=True):
        infinite = int(np.isinf(values_N).sum())
        if infinite:
            raise DataError(
                f"{where}: {infinite:,} values of attribute {column.name!r} are infinite or above 3.4e38. Mend them, or "
                "leave it out"
            )
    return tuple(columns), encoded


def _column(name: str, values: pa.ChunkedArray, *, is_category: bool) -> Column:
    """Returns the schema of an attribute: categories if it is text or said to be, else numbers."""
    dtype = str(values.type)
    if not is_text(values.type) and not is_category:
        return Column(name, dtype=dtype)
    categories = tuple(str(value) for value in sorted(pc.unique(values.drop_null()).to_pylist()))  # pyright: ignore[reportAttributeAccessIssue]
    return Column(name, categories, dtype=dtype)
