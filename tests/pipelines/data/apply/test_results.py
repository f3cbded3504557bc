"""Results of tasks as columns of a file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.data.apply.results import column_arrays, joined, outcome
from vae.data.schema import Column, ExampleSpec
from vae.errors import DataError
from vae.inference.answering import Made, Spread
from vae.inference.coding import Code

IMAGES = ExampleSpec((1, 2, 3))
TABLE = ExampleSpec.of_table([Column("age", mean=40.0, std=10.0), Column("colour", ("blue", "red"))])
ROWS = torch.tensor([[0.5, 1.0], [-1.0, 0.0]])


def test_arrays_become_columns() -> None:
    """Numbers, and lists that carry their shape."""
    columns = {"mean": np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3), "kl": np.zeros((2, 4), np.float32)}
    fields, arrays = column_arrays({**columns, "score": np.array([0.5, 1.5])})
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    assert table["mean"].to_pylist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert table.schema.field("mean").metadata == {b"shape": b"[1, 2, 3]"}
    assert table.schema.field("kl").type == pa.list_(pa.float32(), 4)
    assert table["score"].to_pylist() == [0.5, 1.5]


def test_results_become_examples_or_columns() -> None:
    """Examples are values of the dataset, with gaps filled and the rest as it was; everything else is columns by name."""
    given = np.array([[np.nan, 0.0], [31.25, np.nan]])
    np.testing.assert_array_equal(outcome(Made(ROWS), "reconstruct", TABLE, given), [[45, 1], [30, 0]])
    filled = outcome(Made(ROWS, fills_gaps=True), "impute", TABLE, given)
    np.testing.assert_array_equal(filled, [[45, 0], [31.25, 0]])
    spread = outcome(Spread(ROWS.abs()), "impute", TABLE, given)
    assert {name: values.tolist() for name, values in dict(spread).items()} == {"age": [5, 10], "colour": [1, 0]}
    assert outcome(Code(ROWS, ROWS), "encode", TABLE, given).keys() == {"mean", "std"}  # pyright: ignore
    many = outcome(Made(torch.zeros(2, 5, 1, 2, 3), {"imputation": None}), "impute", IMAGES, None)
    assert many["impute"].shape == (2, 5, 1, 2, 3)  # pyright: ignore


def test_calls_are_joined_in_their_order() -> None:
    """Columns by their name, examples one after the other."""
    assert joined([{"a": np.array([1])}, {"a": np.array([2])}])["a"].tolist() == [1, 2]  # pyright: ignore
    assert joined([np.zeros((2, 3)), np.ones((1, 3))]).shape == (3, 3)  # pyright: ignore


@pytest.mark.parametrize(
    ("result", "examples"),
    [
        (Made(ROWS[:, None], {"imputation": None}), TABLE),
        (Made(torch.zeros(2, 3, 4, 1, 2, 3), {"dimension": [0], "point": None}, {"kl": torch.zeros(1)}), IMAGES),
    ],
)
def test_results_that_are_not_one_for_each_row_are_refused(result: Made, examples: ExampleSpec) -> None:
    """Several rows of a table for one, and traversals, are for `predict`."""
    with pytest.raises(DataError, match="task task: expected one result for each row; such a task is for `predict`"):
        outcome(result, "task", examples, None)
