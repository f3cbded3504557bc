"""Results of a task as files store them: examples of a dataset, or columns of numbers.

Shapes: N rows, D columns of a table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vae.data.rows import holds_gaps
from vae.data.schema import ExampleSpec
from vae.data.transforms import transform_of
from vae.errors import DataError
from vae.inference.answering import Made, Result, Spread
from vae.inference.coding import Code

Outcome = NDArray[Any] | dict[str, NDArray[Any]]
"""Values of examples as a dataset of the model's schema holds them, or columns by name."""


def outcome(result: Result, task: str, examples: ExampleSpec, given: NDArray[Any] | None) -> Outcome:
    """Returns the result of one call in the form that is stored, converted while it is in the cache.

    Args:
        result: Result of the task.
        task: Name of the task, which a column of single numbers gets.
        examples: Schema of the model's examples.
        given: Values that the result was made from; None for results drawn from nothing.

    Raises:
        DataError: If a pixel is not finite, or the result has not one row for each row of the input.
    """
    transform = transform_of(examples)
    match result:
        case Made(x, levels, beside, fills_gaps):
            if beside is not None or (levels and not transform.stacks):
                raise DataError(f"task {task}: expected one result for each row; such a task is for `predict`")
            if levels:
                return {task: x.cpu().numpy()}
            values = transform.restore(x)
            if fills_gaps and given is not None and holds_gaps(given):
                return np.where(np.isnan(given), values, given)
            return values
        case Spread(std):
            return transform.store_spread(std)
        case Code():
            return {name: value.cpu().numpy() for name, value in result._asdict().items()}
        case _:
            return {task: result.cpu().numpy()}


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Returns the outcomes of consecutive calls as one."""
    first = outcomes[0]
    if isinstance(first, dict):
        return {name: np.concatenate([one[name] for one in outcomes]) for name in first}  # pyright: ignore
    return np.concatenate(outcomes)  # pyright: ignore[reportArgumentType, reportCallIssue]


def column_arrays(columns: Mapping[str, NDArray[Any]]) -> tuple[list[pa.Field], list[pa.Array]]:
    """Returns results that are not examples as columns: numbers, or lists of float32 with their shape beside the type."""
    fields, arrays = [], []
    for name, values in columns.items():
        array = _lists(values) if values.ndim > 1 else pa.array(values)
        shape = {"shape": json.dumps(values.shape[1:])} if values.ndim > 2 else None
        fields.append(pa.field(name, array.type, metadata=shape))
        arrays.append(array)
    return fields, arrays


def _lists(values: NDArray[Any]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values[0].size if len(values) else int(np.prod(values.shape[1:])))
