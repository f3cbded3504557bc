"""Parameters are read by the types of the model's signature, and what it does not know is refused."""

from __future__ import annotations

import pytest

from pipelines.data.apply import check_task, read_params
from vae.errors import ConfigError


def test_text_becomes_what_the_signature_says() -> None:
    """Whole numbers, fractions, text and lists of text; what is not given has the signature's default."""
    found = read_params("score", {"num_samples": "7", "seed": 3, "temperature": "0.5", "condition": "class=a, size=2"})
    assert (found["num_samples"], found["seed"], found["temperature"]) == (7, 3, 0.5)
    assert found["condition"] == ["class=a, size=2"]
    assert found["sampler"] == "prior"
    assert not {"task", "n"} & found.keys()


def test_augment_has_parameters_of_its_own() -> None:
    """So many of each class, with the input's rows or without; the class is not for the caller to say."""
    assert read_params("augment", {"per_class": "5", "keep": "true"})["keep"] is True
    assert read_params("augment", {})["per_class"] == 100
    with pytest.raises(ConfigError, match="augment takes no such parameter"):
        read_params("augment", {"condition": "a"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_sample", "7", "did you mean `num_samples`"),
        ("n", "7", "takes no such parameter"),
        ("num_samples", "7.5", "--param num_samples=7.5: expected a whole number"),
        ("temperature", "nan", "--param temperature=nan: expected a number"),
    ],
)
def test_bad_parameters_are_refused(name: str, value: str, message: str) -> None:
    """With the name, what was found, and what was expected."""
    with pytest.raises(ConfigError, match=message):
        read_params("score", {name: value})


def test_unknown_task_is_refused_with_the_nearest() -> None:
    """Before a model is loaded."""
    check_task("augment")
    with pytest.raises(ConfigError, match=r"unknown task 'reconstuct'.*did you mean `reconstruct`"):
        check_task("reconstuct")
