"""Requests: every parameter is checked, and a condition is read by its names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.vae.inference.served import (
    CONDITIONAL,
    GATED,
    LATENT,
    PLAIN,
    SEVERAL,
    build,
    images,
    predict,
    refusal,
    served,
)
from vae import inference
from vae.data.conditions import read_conditions, write_condition
from vae.inference.answering import TASKS, Request
from vae.parts.aggregate import AggregateMixture
from vae.parts.terms import Inputs

PARAMETERS = ", ".join(Request.__dataclass_fields__)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"task": "genrate"},
            f"unknown task 'genrate' (did you mean `generate`?): this model knows {', '.join(TASKS)}",
        ),
        ({"task": "fly"}, f"unknown task 'fly': this model knows {', '.join(TASKS)}"),
        (
            {"output": "men"},
            "unknown output 'men' (did you mean `mean`?): this model knows auto, mean, std, sample, ess",
        ),
        ({"output": "std"}, "task reconstruct: output must be mean, got 'std'"),
        ({"path": "straight"}, "unknown path 'straight': this model knows linear, spherical, geodesic"),
        ({"tasks": "score"}, f"unknown parameter 'tasks' (did you mean `task`?): this model knows {PARAMETERS}"),
        ({"sampler": "prio"}, "unknown sampler 'prio' (did you mean `prior`?): this model knows prior, aggregate"),
    ],
)
def test_unknown_names_are_refused(params: dict[str, str], message: str) -> None:
    """An unknown task, choice or parameter is refused with what there is and the nearest."""
    assert refusal(images(), **params) == message


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"task": "interpolate"}, "task interpolate: expected pairs of images, (N, 2, …), found (5, 1, 4, 3)"),
        ({"task": "interpolate", "n": 1}, "task interpolate: n must be at least 2, got 1"),
        ({"task": "traverse", "dimensions": [0, 7]}, "task traverse: dimensions must be 0 to 1, got 7"),
        ({"task": "traverse", "extent": 0.0}, "task traverse: extent must be above 0 and finite, got 0.0"),
        ({"task": "denoise", "num_samples": 0}, "task denoise: num_samples must be at least 1, got 0"),
        ({"task": "score", "num_samples": 0}, "task score: num_samples must be at least 1, got 0"),
        ({"task": "transfer"}, "task transfer: this model takes no condition, so there is nothing to transfer rows to"),
        ({"task": "edit"}, "task edit: this model has no directions"),
    ],
)
def test_impossible_requests_are_refused(params: dict[str, Any], message: str) -> None:
    """Each says what is wrong and what would do."""
    assert refusal(images(), **params).startswith(message)


@pytest.mark.parametrize(("n", "temperature"), [(0, 1.0), (-3, 1.0), (4, 0.0), (4, float("nan")), (4, float("inf"))])
def test_generate_refuses_impossible_requests(n: int, temperature: float) -> None:
    """A count below 1 and a temperature that is no positive number are refused."""
    wrong = f"n must be at least 1, got {n}" if n < 1 else f"temperature must be above 0 and finite, got {temperature}"
    assert refusal(None, task="generate", n=n, temperature=temperature) == f"task generate: {wrong}"


def test_condition_by_name() -> None:
    """One class for all rows is the same as that class for each; another class gives other images."""
    one = predict(None, CONDITIONAL, task="generate", n=3, condition=["dog"])
    each = predict(None, CONDITIONAL, task="generate", n=3, condition=["dog"] * 3)
    other = predict(None, CONDITIONAL, task="generate", n=3, condition=["dog", "cat", "dog"])
    assert np.array_equal(one, each)
    assert np.array_equal(one[[0, 2]], other[[0, 2]])
    assert not np.array_equal(one[1], other[1])


@pytest.mark.parametrize("task", ["reconstruct", "encode", "score", "generate", "decode"])
def test_conditional_model_asks_for_its_condition(task: str) -> None:
    """Without a condition a conditional model refuses every task and lists the classes."""
    inputs = {"generate": None, "decode": np.zeros((2, LATENT))}.get(task, images())
    assert refusal(inputs, CONDITIONAL, task=task) == (
        f"task {task}: this model is conditional; give params['condition'], one class for all rows or one for each, "
        "out of cat, dog, emu"
    )


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (["cow", "dog", "ant"], "task generate: unknown class ant, cow: expected cat, dog, emu"),
        (["cat", "dog"], "task generate: expected 1 or 3 conditions, found 2"),
    ],
)
def test_bad_conditions_are_refused(condition: list[str], message: str) -> None:
    """Unknown classes, and as many as fit no row, are refused with what there is."""
    assert refusal(None, CONDITIONAL, task="generate", n=3, condition=condition) == message


def test_unconditional_model_refuses_a_condition() -> None:
    """A condition that would be ignored is refused."""
    message = refusal(images(), condition=["cat"])
    assert message == "task reconstruct: this model takes no condition, got ['cat']"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ([], "this model is conditional; give params['condition'], one entry for all rows or one for each, such as "
             "'class=cat, size=3.0, colour=light, blue' (class: cat, dog, emu; size: a number; colour: light, blue, red)"),
        (["class=cat, siz=2, colour=red"], "condition 'class=cat, siz=2, colour=red': 'siz' is not known "
                                           "(did you mean `size`?); give one entry"),
        (["cat"], "condition 'cat': 'cat' is not known (did you mean `class`?); give one entry"),
        (["class=cat, class=dog"], "condition 'class=cat, class=dog': 'class' is there twice; give one entry"),
        (["size=2"], "condition 'size=2' says nothing of class, colour; give one entry"),
        (["class=cat, size=big, colour=red"], "size must be a number, got 'big'"),
        (["class=cat, size=nan, colour=red"], "size must be a number, got 'nan'"),
        (["class=cat, size=2, colour=pink"], "unknown colour pink: expected light, blue, red"),
    ],
)  # fmt: skip
def test_bad_conditions_of_several_are_refused(condition: list[str], message: str) -> None:
    """What is unknown, missing, twice or no number is named, with what is expected."""
    found = refusal(None, SEVERAL, task="generate", n=3, condition=condition)
    assert found.startswith(f"task generate: {message}")


def test_several_conditions_in_any_order() -> None:
    """Names and values, a comma inside a value too, are what the model's own condition is made of."""
    found = predict(None, SEVERAL, task="generate", n=2, condition=["size=5,colour = light, blue,class=emu"])
    condition = SEVERAL.condition(torch.tensor([2, 2]), torch.tensor([[5.0, 0.0, 0.0]] * 2))
    assert np.array_equal(found, inference.generate(SEVERAL, 2, condition).numpy())
    x = torch.from_numpy(images(2))
    entries = ["class=cat, size=-1e1, colour=red", "class=dog, size=0.1, colour=light, blue"]
    condition = SEVERAL.condition(torch.tensor([0, 1]), torch.tensor([[-10, 0, 1], [0.1, 0, 0]]))
    expected = inference.reconstruct(SEVERAL, Inputs(x, condition=condition)).numpy()
    assert np.array_equal(predict(images(2), SEVERAL, condition=entries), expected)


def test_single_attribute_is_given_by_its_value() -> None:
    """A model that is told one number takes the number."""
    model = build("size")
    expected = inference.generate(model, 2, model.condition(None, torch.tensor([[1.5, 0, 0]] * 2)))
    assert np.array_equal(predict(None, model, task="generate", n=2, condition=["1.5"]), expected.numpy())
    assert refusal(None, model, task="generate") == (
        "task generate: this model is conditional; give params['condition'], one size for all rows or one for each, a "
        "number"
    )


def test_written_conditions_are_read_back() -> None:
    """Every value goes through text and back, and the example is one that the model takes."""
    for columns, values in [(SEVERAL.conditions, [2, 0.1, 0]), (SEVERAL.conditions[2:], [1]), (PLAIN.conditions, [])]:
        entries = [write_condition(columns, values)] if columns else []
        np.testing.assert_array_equal(read_conditions(entries, columns, 2, "test"), np.array([values] * 2, np.float32))
    for model in (PLAIN, CONDITIONAL, SEVERAL):
        example = served(model).example_condition()
        assert len(predict(None, model, task="generate", n=2, condition=example)) == 2


def test_beta_is_for_models_with_gates() -> None:
    """A gated model's results follow β, of which 1 is the default; another model refuses any but 1."""
    z = np.ones((3, LATENT), np.float32)
    for beta in (0.1, 4.0):
        log_beta = torch.full((3, 1), float(np.log(beta)))
        expected = inference.decode(GATED, torch.from_numpy(z), log_beta_N1=log_beta).numpy()
        assert np.array_equal(predict(z, GATED, task="decode", beta=beta), expected)
    assert not np.array_equal(predict(z, GATED, task="decode", beta=4.0), predict(z, GATED, task="decode"))
    assert np.array_equal(predict(z, GATED, task="decode", beta=1.0), predict(z, GATED, task="decode"))
    for task in ("reconstruct", "score"):
        assert not np.array_equal(predict(images(), GATED, task=task, beta=9.0), predict(images(), GATED, task=task))
    assert refusal(z, GATED, task="decode", beta=0.0) == "task decode: beta must be above 0, got 0.0"
    assert refusal(z, task="decode", beta=2.0) == (
        "task decode: this model was trained at one beta and takes no other, got 2.0; one that was trained with "
        "model.beta_gates does"
    )


def test_sampler_is_the_prior_or_the_aggregate_posterior() -> None:
    """The mixture that was fitted is drawn from when it is asked for; a model without one says so."""
    assert "no mixture fitted to its aggregate posterior" in refusal(None, task="generate", sampler="aggregate")
    model = build()
    model.aggregate = AggregateMixture(1, LATENT)  # no spread: every draw is its mean
    model.aggregate.means.fill_(3.0)
    found = predict(None, model, task="generate", n=2, sampler="aggregate")
    assert np.array_equal(found, inference.decode(model, torch.full((2, LATENT), 3.0)).numpy())
