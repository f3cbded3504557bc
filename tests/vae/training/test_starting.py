"""Warm starts: what a new model takes over from an earlier one whose classes, columns or categories are others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.laws import parts
from vae.config import ModelConfig, parse
from vae.data.schema import Column, ExampleSpec
from vae.errors import ConfigError
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.training.starting import axes_of, take_over

BASE: dict[str, Any] = {"latent_dim": 3, "encoder": {"kind": "mlp", "hidden": [6]}}
TABLE: dict[str, Any] = {"latent_dim": 3, "encoder": {"kind": "table", "hidden": [6], "embedding_dim": 2}}
COLUMNS = (Column("height", None, 170.0, 10.0), Column("sex", ("f", "m")), Column("city", ("Bern", "Rome", "Ulm")))
GROWN = (
    Column("city", ("Bern", "Oslo", "Rome", "Ulm")),
    Column("height", None, 170.0, 10.0),
    Column("weight", None, 70.0, 10.0),
    Column("sex", ("f", "m")),
)
IMAGES = ExampleSpec((1, 4, 4), ("ant", "bee"), attributes=(Column("size", None, 1.0, 2.0),))


def model_of(values: dict[str, Any], examples: ExampleSpec, seed: int) -> VAE:
    return VAE(parse(ModelConfig, values), examples, seed).eval()


@pytest.mark.parametrize("condition_by", ["concatenation", "film"])
@pytest.mark.parametrize("prior", ["standard_normal", "conditional"])
def test_a_grown_class_keeps_what_was_learned_of_the_others(condition_by: str, prior: str) -> None:
    """The model says the same of the classes that both know, although they stand elsewhere."""
    values = BASE | {"condition": ["size", "class"], "condition_by": condition_by, "prior": {"kind": prior}}
    trained = model_of(values, IMAGES, 0)
    model = model_of(values, replace(IMAGES, classes=("ape", "bee", "ant")), 1)
    kept = take_over(model, trained, "before")
    assert not kept.new
    assert 0 < kept.total - kept.kept < 100
    x, attributes = torch.rand(2, 1, 4, 4), torch.tensor([[0.3], [1.2]])
    before = trained.encode(Inputs(x, condition=trained.condition(torch.tensor([0, 1]), attributes))).mean
    after = model.encode(Inputs(x, condition=model.condition(torch.tensor([2, 1]), attributes))).mean
    torch.testing.assert_close(before, after)
    z = torch.randn(1, 2, 3)
    torch.testing.assert_close(
        trained.decode(z, trained.condition(torch.tensor([0, 1]), attributes)),
        model.decode(z, model.condition(torch.tensor([2, 1]), attributes)),
    )


@pytest.mark.parametrize("likelihood", ["mixed", "autoregressive"])
def test_grown_columns_and_categories_keep_what_was_learned_of_the_others(likelihood: str) -> None:
    """Encoder and decoder say the same of columns that both know, where the new ones are silent."""
    values = TABLE | {"likelihood": {"kind": likelihood}}
    if likelihood == "autoregressive":
        values["likelihood"]["hidden"] = 8
    trained = model_of(values, ExampleSpec.of_table(COLUMNS), 0)
    model = model_of(values, ExampleSpec.of_table(GROWN), 1)
    kept = take_over(model, trained, "before")
    assert not kept.new
    assert kept.kept > 0.4 * kept.total
    weights, old = model.state_dict(), trained.state_dict()
    labels, before = (axes_of(one)["decoder.out.weight"][0] for one in (model, trained))
    for place, label in enumerate(before or ()):
        assert torch.equal(
            weights["decoder.out.weight"][list(labels or ()).index(label)], old["decoder.out.weight"][place]
        )
    rows = {"Bern": (0, 0), "Ulm": (2, 3), None: (3, 4)}
    for was, now in rows.values():
        assert torch.equal(weights["encoder.embedding.weight"][now], old["encoder.embedding.weight"][3 + was])


@pytest.mark.parametrize("name", parts.MODELS)
def test_the_same_model_is_taken_over_whole(name: str) -> None:
    """Whatever it is made of, with the same columns and classes nothing begins anew."""
    trained, model = parts.build(parts.MODELS[name], 0), parts.build(parts.MODELS[name], 1)
    kept = take_over(model, trained, "before")
    assert (kept.kept, kept.new) == (kept.total, [])
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in model.state_dict().items())


def test_other_layers_begin_anew_and_are_named() -> None:
    """A wider latent keeps the layers that do not touch it; a model with nothing in common is refused."""
    trained = model_of(BASE, IMAGES, 0)
    kept = take_over(model_of(BASE | {"latent_dim": 4}, IMAGES, 1), trained, "before")
    assert kept.new == ["posterior.head.weight", "posterior.head.bias"]
    assert kept.sentence("before").startswith("started from before: ")
    other = BASE | {"encoder": {"kind": "mlp", "hidden": [5]}, "latent_dim": 2}
    with pytest.raises(ConfigError, match=r"cannot start from the weights of before: model\.encoder"):
        take_over(model_of(other, ExampleSpec((1, 2, 2)), 1), trained, "before")
