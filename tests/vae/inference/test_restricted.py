"""New rows of a table under constraints on its columns."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.vae.inference.served import LATENT, PLAIN, TABLE, build, predict, refusal
from vae.data.constraints import Constraint, fitting, read_constraints
from vae.data.schema import Column
from vae.inference.restricted import MOST_DRAWS, draw_fitting

COLUMNS = (
    Column("age", None, 40.0, 10.0),
    Column("sex", ("F", "M")),
    Column("size", ("small", "large, wide"), type="ordered"),
    Column("born", dtype="date32[day]"),
)
AGE = Column("age", None, 40.0, 10.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age>60", [(0, ">", (60.0,))]),
        ("sex = F, age <= 3.5", [(1, "=", (0.0,)), (0, "<=", (3.5,))]),
        ("size>=large, wide,sex!=M", [(2, ">=", (1.0,)), (1, "!=", (1.0,))]),
        ("born>=1970-01-02", [(3, ">=", (86400.0,))]),
        ('{"sex": ["F", "M"], "age": ">60"}', [(1, "=", (0.0, 1.0)), (0, ">", (60.0,))]),
        ('{"age": 20}', [(0, "=", (20.0,))]),
    ],
)
def test_constraints_are_read_from_text_and_json(text: str, expected: list[tuple[int, str, tuple[float, ...]]]) -> None:
    """Names, signs and values in the column's unit or as codes; a comma may be a value's own."""
    assert read_constraints(text, COLUMNS, "x") == tuple(Constraint(*one) for one in expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agee>60", "x: unknown column 'agee' (did you mean `age`?); expected one of age, sex, size, born"),
        ("sex=X", "x: unknown sex 'X'; expected F, M"),
        ("sex>F", "x: sex holds categories without an order; only = and != fit, got >"),
        ("age>old", "x: age must be a number, got 'old'"),
        ("age", "x: 'age' is no constraint: give column, sign and value, such as"),
        ('{"age": null}', "x: age: null is no value: give column"),
        ('{"age": ', "x: '{\"age\": ' is no JSON"),
    ],
)
def test_constraints_that_do_not_fit_the_table_are_refused(text: str, message: str) -> None:
    """The message says what is wrong, and what would do."""
    with pytest.raises(ValueError) as error:
        read_constraints(text, COLUMNS, "x")
    assert str(error.value).startswith(message)


def test_rows_fit_if_they_meet_every_constraint() -> None:
    """All constraints hold, one of the values of each; a missing value meets none."""
    rows = np.array([[61, 0], [59, 0], [61, 1], [np.nan, 0]])
    assert fitting(rows, read_constraints("age>60,sex=F", COLUMNS, "x")).tolist() == [True, False, False, False]
    assert fitting(rows, read_constraints('{"sex": ["F", "M"]}', COLUMNS, "x")).all()


def test_generated_rows_meet_the_constraints_and_are_the_model_s_own() -> None:
    """All rows fit, and their ages are distributed as those of the fitting ones among unrestricted draws."""
    asked = {"task": "generate", "n": 2_000, "seed": 5}
    found = predict(None, TABLE, **asked, where="age>45,colour!=red")
    assert len(found) == 2_000
    assert (found["age"] > 45).all()
    assert "red" not in set(found["colour"])
    free = predict(None, TABLE, **asked | {"n": 30_000, "seed": 6})
    fits = free[(free["age"] > 45) & (free["colour"] != "red")]
    error = found["age"].std() * (1 / len(found) + 1 / len(fits)) ** 0.5
    assert abs(found["age"].mean() - fits["age"].mean()) < 4 * error
    again = predict(None, TABLE, **asked, where=json.dumps({"age": ">45", "colour": ["blue", "green"]}))
    assert again.equals(found)


def test_each_row_keeps_its_condition_under_constraints() -> None:
    """Rows of a conditional model are drawn under their own condition, in their place."""
    model = build("class", (3,), encoder={"kind": "table", "hidden": [8]}, likelihood={"kind": "mixed"})
    found = predict(None, model, task="generate", n=3, condition=["cat", "dog", "cat"], where="level=2")
    assert found["level"].tolist() == ["2"] * 3


def test_few_fitting_rows_are_said_and_none_is_refused() -> None:
    """A warning gives the share and how many rows repeat; without any fitting row the request is refused."""
    with pytest.warns(UserWarning, match=r"task generate, where: [\d,]+ of [\d,]+ drawn rows fit, [\d.e-]+ %"):
        found = predict(None, TABLE, task="generate", n=50, where="age>75")
    assert (found["age"] > 75).all()
    assert refusal(None, TABLE, task="generate", n=2, where="age>1e6") == (
        f"task generate, where: none of {MOST_DRAWS:,} drawn rows fits 'age>1e6'; ask for less, such as a range of a number"
    )


def test_constraints_are_for_new_rows_of_tables() -> None:
    """Other tasks and models of images are refused."""
    for model, task, given in ((PLAIN, "generate", None), (TABLE, "decode", np.zeros((1, LATENT), np.float32))):
        assert "where is for generate and models of tables" in refusal(given, model, task=task, where="age>1")


def test_rows_beyond_the_budget_repeat_fitting_ones_of_their_group() -> None:
    """With one fitting candidate for each group, all its rows are that one; more than the budget is not drawn."""
    asked: list[int] = []

    def draw(rows_B: torch.Tensor, seed: int) -> torch.Tensor:
        asked.append(len(rows_B))
        return rows_B.float()

    def fits(x: torch.Tensor) -> torch.Tensor:
        place_B = torch.arange(len(x))
        return (place_B < 4) & (place_B % 2 == 1) if len(asked) == 1 else torch.zeros(len(x), dtype=torch.bool)

    made = draw_fitting(draw, fits, [0, 0, 0, 1], 0)
    assert made.x.tolist() == [1, 1, 1, 3]
    assert (made.num_fitting, made.num_repeated) == (2, 2)
    assert MOST_DRAWS <= made.num_drawn == sum(asked) < MOST_DRAWS + 4_096


def test_each_group_gets_the_candidates_of_its_own_rows() -> None:
    """The row whose own candidates never fit gets that of its group; if all fit, rows are those without constraints."""
    made = draw_fitting(lambda rows_B, seed: rows_B.float(), lambda x: x > 0, [5, 9, 5, 7], 0)
    assert made.x.tolist() == [2, 1, 2, 3]
    free, all_fit = (
        predict(None, TABLE, task="generate", n=9, seed=2, **asked) for asked in ({}, {"where": "age>-1e9"})
    )
    assert all_fit.equals(free)
