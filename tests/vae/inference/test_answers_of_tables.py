"""Answers about tables: rows in any form come back in their own units and types."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from tests.vae.inference.served import (
    COLUMNS,
    LATENT,
    PEOPLE,
    PLAIN,
    TABLE,
    build,
    predict,
    refusal,
)
from vae import inference
from vae.config import ModelConfig
from vae.data.schema import Experience
from vae.data.transforms import transform_of
from vae.inference.answering import abilities
from vae.model import VAE, Column, ExampleSpec
from vae.parts.terms import Inputs

TYPED = (
    Column("age", None, 40.0, 10.0, "int64"),
    Column("member", ("False", "True"), dtype="bool"),
    Column("level", ("1", "2"), dtype="int64"),
    Column("keen", None, 0.5, 0.5, "bool"),
    Column("weight", None, 70.0, 5.0),
)
GUESTS = pd.DataFrame(
    {
        "age": pd.array([20, None, 61], "Int64"),
        "member": pd.array([True, False, None], "boolean"),
        "level": pd.array([2, 1, 1], "Int64"),
        "keen": pd.array([None, True, False], "boolean"),
        "weight": [0.1, 71.25, np.nan],
    }
)


def prepared(age: list[float], colour: list[int], level: list[int]) -> torch.Tensor:
    return torch.stack([(torch.tensor(age) - 40) / 10, torch.tensor(colour), torch.tensor(level)], dim=1)


def test_table_rows_are_standardised_encoded_and_masked() -> None:
    """A data frame becomes deviations from the mean, codes, and which entries are there."""
    x = prepared([20, 40, 61.5], [2, 0, 0], [1, 0, 0])
    inputs = Inputs(x, torch.tensor([[True, True, True], [False, True, True], [True, False, True]]))
    code = predict(PEOPLE, TABLE, task="encode")
    assert np.array_equal(code["mean"], inference.encode(TABLE, inputs).mean.numpy())
    scores = predict(PEOPLE, TABLE, task="score", num_samples=5)
    assert np.array_equal(scores, inference.score(TABLE, inputs, num_samples=5).numpy())


@pytest.mark.parametrize("task", ["reconstruct", "decode", "generate"])
def test_tables_come_back_in_their_own_units(task: str) -> None:
    """Results are data frames with the model's columns: numbers in their unit, categories by name."""
    z = torch.randn(16, LATENT, generator=torch.Generator().manual_seed(0))
    given = {"reconstruct": PEOPLE, "decode": z.numpy(), "generate": None}[task]
    found = predict(given, TABLE, task=task)
    assert list(found.columns) == ["age", "colour", "level"]
    assert set(found["colour"]) <= {"blue", "green", "red"}
    assert set(found["level"]) <= {"1", "2"}
    if task == "decode":
        x = inference.decode(TABLE, z, output="sample").numpy()
        np.testing.assert_allclose(found["age"], 40 + 10 * x[:, 0], rtol=1e-6)
        assert found["colour"].tolist() == [COLUMNS[1].categories[int(code)] for code in x[:, 1]]  # pyright: ignore
        assert predict(found, TABLE).shape == (16, 3)  # what it gives, it takes


@pytest.mark.parametrize(
    "convert",
    [
        lambda frame: frame[["level", "age", "colour"]],
        lambda frame: frame.to_dict("list"),
        lambda frame: frame.to_records(index=False),
        lambda frame: frame.to_numpy(),
        lambda frame: frame.to_numpy().tolist(),
        lambda frame: frame.astype({"age": "Float64", "level": "float"}),
        lambda frame: frame.astype({"colour": "category", "level": "str"}),
        lambda frame: frame.assign(age=["20", None, "61.5"]),
        lambda frame: frame.astype({"age": "Float64", "level": "Int64", "colour": "string[pyarrow]"}),
        lambda frame: frame.astype({"age": "category", "level": "category"}),
        lambda frame: frame.to_dict("records"),
        pa.Table.from_pandas,
        lambda frame: pa.RecordBatch.from_pandas(frame),
        lambda frame: pytest.importorskip("polars").from_pandas(frame),
    ],
    ids=[
        "another order",
        "dict",
        "records",
        "array",
        "lists",
        "nullable",
        "categories",
        "text",
        "pyarrow text",
        "numbers as categories",
        "list of rows",
        "Arrow table",
        "Arrow batch",
        "Polars",
    ],
)
def test_tables_may_come_in_several_forms(convert: Any) -> None:
    """Whatever holds the same rows gives the same result."""
    expected, found = predict(PEOPLE, TABLE), predict(convert(PEOPLE), TABLE)
    pd.testing.assert_frame_equal(found, expected)


def test_other_columns_are_ignored_with_a_warning() -> None:
    """Columns that the model does not have change nothing, and the warning names them."""
    with pytest.warns(
        UserWarning, match=r"task reconstruct: columns that the model does not have are ignored: id, note"
    ):
        found = predict(PEOPLE.assign(id=[7, 8, 9], note="x"), TABLE)
    pd.testing.assert_frame_equal(found, predict(PEOPLE, TABLE))


def test_one_row_may_come_as_names_with_their_values() -> None:
    """A mapping of single values is one row."""
    found = predict({"age": 20.0, "colour": "red", "level": 2}, TABLE, task="score", num_samples=5)
    assert np.array_equal(found, predict(PEOPLE[:1], TABLE, task="score", num_samples=5))


DAYS = ["2024-03-01", "2024-03-02", None, "2024-03-05"]


@pytest.mark.parametrize(
    "days",
    [
        pd.Series(DAYS),
        pd.Series(DAYS).astype("datetime64[ns]"),
        pd.Series(DAYS).astype("datetime64[ns, UTC]"),
        pd.Series([day and date.fromisoformat(day) for day in DAYS], dtype=object),
        pd.Series(pd.array(DAYS, "string[pyarrow]")),
        pd.Series(DAYS, dtype="category"),
        pd.Series(pd.array([day and date.fromisoformat(day) for day in DAYS], pd.ArrowDtype(pa.date32()))),
    ],
    ids=["text", "datetime64", "with a zone", "dates", "pyarrow text", "categories", "Arrow dates"],
)
def test_dates_may_come_in_several_forms(days: pd.Series) -> None:
    """Days as text, dates or moments are the same days."""
    column = Column("day", dtype="date32[day]")
    transform = transform_of(ExampleSpec.of_table([column]))
    expected = np.array([1709251200.0, 1709337600, np.nan, 1709596800])
    np.testing.assert_array_equal(transform.values_of(pd.DataFrame({"day": days}), "x")[:, 0], expected)  # pyright: ignore


def test_imputed_categories_may_be_new_to_the_frame() -> None:
    """A frame's own categories grow by what is filled in, and keep their type."""
    rows = GUESTS.assign(level=pd.Series([2, None, 2], dtype="category"))
    found = predict(rows, typed(missing=True), task="impute", output="sample", n=9, num_samples=20)["level"]
    assert isinstance(found.dtype, pd.CategoricalDtype)
    assert set(found) == {1, 2}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (PEOPLE.rename(columns={"age": "agee"}), "unknown column 'agee' (did you mean `age`?), column 'age' is missing; "
                                                 "expected the columns age, colour, level"),
        (PEOPLE.drop(columns="level"), "column 'level' is missing; expected the columns age, colour, level"),
        (pd.concat([PEOPLE, PEOPLE[["age"]]], axis=1), "column 'age' is there 2 times; expected"),
        (PEOPLE.assign(colour="gren"), "column 'colour', row 0: unknown category 'gren' (did you mean `green`?); expected "
                                       "blue, green, red"),
        (PEOPLE.assign(level=1.5), "column 'level', row 0: unknown category '1.5'"),
        (PEOPLE.assign(age=["20", "old", None]), "column 'age', row 1: expected numbers, found 'old'; "
                                                 "None or NaN is missing"),
        (PEOPLE.assign(age=-np.inf), "column 'age', row 0: expected numbers, found '-inf'"),
        (PEOPLE.to_numpy()[:, :2], "expected a data frame, or an array of shape (N, 3) with the columns age, colour, "
                                   "level; found shape (3, 2)"),
        ({"age": [1], "colour": ["red", "red"], "level": ["1"]}, "these columns are no table: "),
    ],
)  # fmt: skip
def test_bad_tables_are_refused(rows: Any, message: str) -> None:
    """Unknown, missing and repeated columns, unknown categories and what is no number, with the nearest name."""
    assert refusal(rows, TABLE).startswith(f"task reconstruct: {message}")


@pytest.mark.parametrize("task", ["decode", "generate"])
def test_new_rows_of_a_table_are_draws_and_new_images_means(task: str) -> None:
    """Without `output` new rows of a table are those of `sample`, new images those of `mean`."""
    z_NL = np.zeros((16, LATENT), np.float32)
    for model, default in ((TABLE, "sample"), (PLAIN, "mean")):
        given = {"decode": z_NL, "generate": None}[task]
        found, same = (predict(given, model, task=task, seed=3, **asked) for asked in ({}, {"output": default}))
        other = predict(given, model, task=task, seed=3, output={"sample": "mean", "mean": "sample"}[default])
        assert np.array_equal(found, same)
        assert not np.array_equal(found, other)


def test_new_rows_of_a_table_are_values_that_their_columns_can_hold() -> None:
    """Draws stay between the extremes of the training split, and whole numbers are whole."""
    columns = (
        Column("age", None, 40.0, 10.0, type="count", smallest=30.0, largest=45.0),
        Column("weight", None, 70.0, 5.0, smallest=69.5, largest=80.0),
    )
    parts = {"encoder": {"kind": "table", "hidden": [8]}, "likelihood": {"kind": "mixed"}, "latent_dim": LATENT}
    model = VAE(ModelConfig.model_validate(parts), ExampleSpec.of_table(columns)).eval()
    found = predict(None, model, task="generate", n=500)
    assert found["age"].dtype == np.int64
    assert (found["age"].min(), found["age"].max()) == (30, 45)
    assert found["weight"].min() == 69.5
    assert found["weight"].std() > 2


def test_whole_numbers_with_gaps_come_back_whole() -> None:
    """Pandas keeps whole numbers with gaps as fractional ones; imputed they are whole."""
    rows = pd.DataFrame({"age": [20, None, 61], "member": [True, None, False], "level": [2, None, 1],
                         "keen": [True, False, True], "weight": [1.5, None, 2.0]})  # fmt: skip
    found = predict(rows, typed(missing=True), task="impute", num_samples=20)
    assert found["age"].dtype == np.int64
    assert found["age"][[0, 2]].tolist() == [20, 61]
    rows["age"] = [20.5, None, 61]
    assert predict(rows, typed(missing=True), task="impute", num_samples=20)["age"][0] == 20.5


def test_conditional_table_takes_its_condition() -> None:
    """A table's model may be told the class as well."""
    model = build("class", (3,), encoder={"kind": "table", "hidden": [8]}, likelihood={"kind": "mixed"})
    dog, emu = (predict(PEOPLE, model, condition=[name]) for name in ("dog", "emu"))
    assert not dog.equals(emu)
    pd.testing.assert_frame_equal(
        predict(PEOPLE, model, condition=["dog", "emu", "dog"]).iloc[[0, 2]], dog.iloc[[0, 2]]
    )


def typed(**experience: Any) -> VAE:
    parts = {"encoder": {"kind": "table", "hidden": [8]}, "likelihood": {"kind": "mixed"}, "latent_dim": LATENT}
    model = VAE(ModelConfig.model_validate(parts), ExampleSpec((5,), None, TYPED)).eval()
    model.experience = Experience(**experience)
    return model


def test_imputed_table_keeps_what_was_there_and_its_types() -> None:
    """Every cell that the caller gave comes back as it was, gaps are filled, and columns keep their types."""
    found = predict(GUESTS, typed(missing=True), task="impute", num_samples=20)
    assert found.dtypes.equals(GUESTS.dtypes)
    assert not found.isna().any(axis=None)
    pd.testing.assert_frame_equal(found.where(GUESTS.notna()), GUESTS.where(GUESTS.notna()), check_dtype=False)
    assert found["weight"][0] == 0.1


def test_several_imputations_of_a_row_follow_each_other() -> None:
    """`n` rows for each, told apart by the index; they agree where something was observed, and differ elsewhere."""
    found = predict(GUESTS, typed(missing=True), task="impute", output="sample", n=5, num_samples=20)
    assert found.index.names == ["row", "imputation"]
    assert found.index.tolist() == [(row, number) for row in range(3) for number in range(5)]
    assert found["age"].tolist()[:5] == [20] * 5
    assert found["weight"].nunique() > 5
    assert found.dtypes.equals(GUESTS.dtypes)


def test_spread_of_a_table_is_in_its_units() -> None:
    """Standard deviations are numbers in each column's unit, and 0 where a cell was given."""
    model = typed(missing=True)
    found = predict(GUESTS, model, task="impute", output="std", num_samples=20)
    assert (found.where(GUESTS.notna(), 0) == 0).all(axis=None)
    assert found["age"][1] > 1  # of about 10, which is one standard deviation
    assert 0 < found["member"][2] < 1


def test_effective_draws_are_an_answer_of_their_own() -> None:
    """`ess` gives one number for each row, that of the estimate, from 1 to the number of draws."""
    model = typed(missing=True)
    found = predict(GUESTS, model, task="impute", output="ess", num_samples=20)
    assert found.shape == (3,)
    assert (found >= 1).all()
    scored = predict(GUESTS, model, task="score", output="ess", num_samples=20)
    assert scored.shape == (3,)
    assert ((scored >= 0.999) & (scored <= 20.001)).all()


@pytest.mark.parametrize("output", ["mean", "std", "sample"])
def test_rows_with_few_effective_draws_are_flagged(output: str) -> None:
    """Two draws are too few for every row with a gap: the warning counts them, and says what gives their figures."""
    message = (
        r"task impute: 3 of 4 rows rest on fewer than 10 effective draws.*\{'output': 'ess'\}.*num_samples above 1"
    )
    whole = pd.DataFrame({"age": [30], "member": [True], "level": [1], "keen": [False], "weight": [1.0]})
    rows = pd.concat([GUESTS, whole.astype(GUESTS.dtypes)], ignore_index=True)
    with pytest.warns(UserWarning, match=message) as warned:
        predict(rows, typed(missing=True), task="impute", output=output, num_samples=1)
    assert len(warned) == 1


def test_reconstructed_table_has_the_types_of_its_dataset() -> None:
    """Whole numbers, truth values and numbered categories come back as such where nothing is missing."""
    found = predict(GUESTS, typed(), task="reconstruct")
    assert [str(kind) for kind in found.dtypes] == ["int64", "bool", "int64", "bool", "float64"]
    assert set(found["level"]) <= {1, 2}


def test_model_of_complete_examples_does_not_impute() -> None:
    """It says why, and what it can do."""
    said = refusal(GUESTS, typed(), task="impute")
    assert said.startswith("task impute: this model was trained on complete examples")
    assert "reconstruct, denoise and score" in said
    assert abilities(typed())["impute"] is not None
    assert abilities(typed(missing=True))["impute"] is None


def test_row_of_nothing_is_named() -> None:
    """Rows of which nothing is observed are refused by their number."""
    empty = pd.concat([GUESTS, pd.DataFrame(None, index=range(2), columns=GUESTS.columns)], ignore_index=True)
    assert refusal(empty, typed(missing=True), task="impute").startswith(
        "task impute: nothing is observed of rows 3, 4; leave such rows out"
    )


def test_paths_of_a_table_are_rows() -> None:
    """Two successive rows are a pair; a path's rows follow each other. Three rows are no pairs."""
    people = PEOPLE.dropna(how="all").iloc[[0, 1, 0, 2]]
    found = predict(people, TABLE, task="interpolate", n=4)
    assert found.index.names == ["row", "point"]
    assert len(found) == 8
    assert "expected pairs, two successive rows each, found 3 rows" in refusal(PEOPLE, TABLE, task="interpolate")
    assert "categories do not" in refusal(people, TABLE, task="interpolate", path="geodesic")
