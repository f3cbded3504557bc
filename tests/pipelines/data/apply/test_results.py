"""Three kinds of results as Arrow, and back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.data.apply.results import are_examples, check_length, column_arrays, example_arrays, joined
from vae.data.schema import Column, ExampleSpec
from vae.errors import DataError

IMAGE = ExampleSpec((1, 2, 3))


def test_arrays_mappings_and_frames_become_columns() -> None:
    """Numbers, lists that tell their shape, text; a frame within a mapping has its columns called after both."""
    result = {
        "mean": np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3),
        "word": np.array(["a", "b"]),
        "rows": pd.DataFrame({"age": [1.0, 2.0], "colour": ["red", None]}),
    }
    fields, arrays = column_arrays(result, "task")
    found = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    assert found.column_names == ["mean", "word", "rows.age", "rows.colour"]
    assert found["mean"].to_pylist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert found.schema.field("mean").metadata == {b"shape": b"[1, 2, 3]"}
    assert found["rows.colour"].to_pylist() == ["red", None]
    fields, arrays = column_arrays(np.zeros((2, 4), np.float32), "task")
    assert (fields[0].name, arrays[0].type) == ("task", pa.list_(pa.float32(), 4))


def test_calls_are_joined_in_their_order() -> None:
    """Whatever they are made of."""
    parts = [{"a": np.array([1]), "b": pd.DataFrame({"c": [1]})}, {"a": np.array([2]), "b": pd.DataFrame({"c": [2]})}]
    whole = joined(parts)
    assert whole["a"].tolist() == [1, 2]
    assert whole["b"]["c"].tolist() == [1, 2]


def test_results_that_are_not_one_for_each_row_are_refused() -> None:
    """A path between two rows, say, is for `predict`."""
    with pytest.raises(DataError, match="one result for each of 4 rows, found 3"):
        check_length({"a": np.zeros(3)}, 4, "task interpolate")


def test_images_are_rounded_to_eight_bits_and_numbers_they_must_be() -> None:
    """Half a level up or down, clipped to the range."""
    pixels = np.array([0, 0.499 / 255, 0.501 / 255, 1, 1.2, -1], np.float32).reshape(1, 1, 2, 3)
    assert are_examples(pixels, IMAGE)
    assert not are_examples(pixels[:, None], IMAGE)
    (array,) = example_arrays(pixels, IMAGE, None)
    assert list(array[0].as_py()) == [0, 0, 1, 255, 255, 0]
    with pytest.raises(DataError, match="1 of 6 pixels are not finite"):
        example_arrays(np.where(pixels > 1, np.nan, pixels), IMAGE, None)


def test_table_keeps_its_types_and_the_digits_of_what_was_left_alone() -> None:
    """Numbers keep the dataset's types; a whole number above 2⁵³ that the model left alone keeps all its digits."""
    spec = ExampleSpec.of_table(
        (
            Column("x", dtype="double"),
            Column("n", dtype="int64"),
            Column("yes", dtype="bool"),
            Column("flag", ("False", "True"), dtype="bool"),
            Column("level", ("1", "2"), dtype="int32"),
        )
    )
    flags = {"yes": [True, False, None], "flag": [True] * 3}
    given = pa.table({"x": [0.1, 0.2, None], "n": [2**53 + 1, 5, None], **flags, "level": [1] * 3})
    frame = pd.DataFrame(
        {
            "x": np.array([0.1, 0.7, np.nan]),
            "n": np.array([2**53, 6.4, np.nan]),
            "yes": np.array([0.7, 0.2, np.nan]),
            "flag": ["True", "False", None],
            "level": ["2", None, "1"],
        }
    )
    assert are_examples(frame, spec)
    found = [array.to_pylist() for array in example_arrays(frame, spec, given)]
    assert found == [
        [0.1, 0.7, None],
        [2**53 + 1, 6, None],
        [True, False, None],
        [True, False, None],
        [2, None, 1],
    ]
