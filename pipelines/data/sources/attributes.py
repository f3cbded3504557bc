"""What is known of every image beside its class: columns of numbers and categories."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from pipelines.data.sources.tables import column_of
from vae.data.manifest import Column
from vae.data.rows import encode
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight


def survey_attributes(
    table: pa.Table, where: str, categorical: Collection[str]
) -> tuple[tuple[Column, ...], NDArray[np.float32] | None]:
    """(what the columns hold, their values [N,A]: numbers, and categories as codes, NaN where missing).

    Args:
        table: Every row of the source, attributes alone; null is missing.
        where: What the source is called.
        categorical: Columns whose values are categories; those of text are anyway.

    Raises:
        DataError: If a column is of another type, all missing, or holds infinite numbers.
    """
    if not table.num_columns:
        return (), None
    columns = []
    for name in table.column_names:
        values = table[name]
        kind = values.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or _is_text(kind)):
            raise DataError(f"{where}: expected numbers, booleans or text in attribute {name!r}, found {kind}")
        if len(values) and values.null_count == len(values):
            raise DataError(f"{where}: every value of attribute {name!r} is missing. Leave it out")
        columns.append(column_of(name, values, categorical=name in categorical))
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        encoded = encode(table, columns).astype(np.float32)
    for column, values_N in zip(columns, encoded.T, strict=True):
        infinite = int(np.isinf(values_N).sum())
        if infinite:
            raise DataError(
                f"{where}: {infinite:,} values of attribute {column.name!r} are infinite or above 3.4e38. Mend them, or "
                "leave it out"
            )
    return tuple(columns), encoded


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
