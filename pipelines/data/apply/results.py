"""From what `predict` returns to Arrow: arrays [N,…], mappings of arrays, or data frames.

Shapes: N rows, D columns of a table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vae.data.schema import ExampleSpec
from vae.errors import DataError


def joined(results: Sequence[Any]) -> Any:
    """The results of consecutive calls as one."""
    first = results[0]
    if isinstance(first, pd.DataFrame):
        return pd.concat(results, ignore_index=True)
    if isinstance(first, Mapping):
        return {name: joined([result[name] for result in results]) for name in first}
    return np.concatenate(results)


def check_length(result: Any, rows: int, where: str) -> Any:
    """The result, which has a row for each of the inputs.

    Raises:
        DataError: If it has not: such a task cannot be applied row by row.
    """
    if isinstance(result, Mapping) and not isinstance(result, pd.DataFrame):
        for value in result.values():
            check_length(value, rows, where)
    elif len(result) != rows:
        raise DataError(
            f"{where}: expected one result for each of {rows} rows, found {len(result)}; such a task is for `predict`"
        )
    return result


def are_examples(result: Any, example: ExampleSpec) -> bool:
    """Whether results are of the kind of the dataset's examples."""
    if example.columns is None:
        return isinstance(result, np.ndarray) and result.shape[1:] == example.shape
    return isinstance(result, pd.DataFrame) and set(result.columns) == {column.name for column in example.columns}


def compact(result: Any, example: ExampleSpec) -> Any:
    """Images as pixels of 8 bits, call by call, while they are in the cache; anything else as it is.

    Raises:
        DataError: If a pixel is no number.
    """
    if example.columns is not None or not are_examples(result, example) or result.dtype == np.uint8:
        return result
    if not np.isfinite(result.sum()):
        raise DataError(f"{int((~np.isfinite(result)).sum())} of {result.size} pixels are not finite")
    levels = result * np.float32(255)
    np.rint(levels, out=levels)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def example_arrays(result: Any, example: ExampleSpec, given: pa.Table | None) -> list[pa.Array]:
    """Examples as a dataset stores them: pixels of 8 bits, or columns of the types that the table has.

    Args:
        result: float [N,C,H,W] in [0, 1], or a data frame.
        example: What they are.
        given: The stored rows that the examples were made from, if any. A number that the model returned unchanged keeps
            all its digits, also a whole one above 2⁵³.

    Raises:
        DataError: If a pixel is no number.
    """
    if example.columns is None:
        pixels = compact(result, example)
        kind = pa.binary(example.row_bytes)
        return [pa.FixedSizeBinaryArray.from_buffers(kind, len(pixels), [None, pa.py_buffer(pixels)])]
    arrays = []
    for column in example.columns:
        kind = pa.type_for_alias(column.dtype)
        if column.categories is not None:
            arrays.append(pa.array(result[column.name], from_pandas=True).cast(kind))
        else:
            known = None if given is None else given.column(column.name).combine_chunks()
            arrays.append(_numbers(result[column.name].to_numpy(np.float64, na_value=np.nan), kind, known))
    return arrays


def column_arrays(result: Any, task: str) -> tuple[list[pa.Field], list[pa.Array]]:
    """Results that are no examples, as columns: numbers, text, or lists of float32 with their shape beside the type.

    An array is called after its task, and what is in a mapping or a data frame by its own name.
    """
    fields, arrays = [], []
    for name, values_N in _flat(result, task).items():
        if values_N.ndim > 1:
            array = _lists(values_N)
        elif values_N.dtype.kind in "OUS":  # in which pandas says NaN where a text is missing
            array = pa.array(values_N, pa.string(), from_pandas=True)
        else:
            array = pa.array(values_N)
        shape = {"shape": json.dumps(values_N.shape[1:])} if values_N.ndim > 2 else None
        fields.append(pa.field(name, array.type, metadata=shape))
        arrays.append(array)
    return fields, arrays


def _flat(result: Any, name: str, prefix: str = "") -> dict[str, NDArray[Any]]:
    if isinstance(result, pd.DataFrame):
        return {f"{prefix}{column}": result[column].to_numpy() for column in result.columns}
    if isinstance(result, Mapping):
        found: dict[str, NDArray[Any]] = {}
        for key, value in result.items():
            nested = isinstance(value, pd.DataFrame | Mapping)
            found |= _flat(value, f"{prefix}{key}", f"{prefix}{key}." if nested else "")
        return found
    return {name: np.asarray(result)}


def _lists(values: NDArray[Any]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values[0].size if len(values) else int(np.prod(values.shape[1:])))


def _numbers(values_N: NDArray[np.float64], kind: pa.DataType, given: pa.Array | None) -> pa.Array:
    missing = np.isnan(values_N)
    numbers = np.where(missing, 0, values_N)
    if pa.types.is_boolean(kind):
        array = pa.array(numbers >= 0.5, mask=missing)
    elif pa.types.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        # The largest of 64 bits is no float64: the next below is.
        top = float(limits.max) if limits.bits < 64 else np.nextafter(float(limits.max), 0)
        array = pa.array(np.rint(numbers).clip(limits.min, top), mask=missing).cast(kind, safe=False)
    else:
        array = pa.array(numbers, mask=missing).cast(kind, safe=False)
    if given is None:
        return array
    same = pc.equal(  # pyright: ignore[reportAttributeAccessIssue]
        pc.cast(given, pa.float64(), safe=False), pa.array(values_N)
    )
    return pc.if_else(pc.fill_null(same, False), given, array)  # pyright: ignore[reportAttributeAccessIssue]
