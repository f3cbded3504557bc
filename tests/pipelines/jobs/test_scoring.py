"""What the evaluation calls a score, and what it does to compare two models on new data."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from pipelines.jobs.scoring import protocol, unit_changes
from vae.config import ModelConfig, parse
from vae.data.batches import Batch
from vae.data.fitting import fits
from vae.data.missing import MissingAtRandom, MissingCompletelyAtRandom
from vae.data.schema import Column, ExampleSpec, with_bounds_of
from vae.model import VAE

TABLE = {"encoder": {"kind": "table", "hidden": [4]}, "likelihood": {"kind": "mixed"}}
CODES = {"posterior": {"kind": "vector_quantized"}, "prior": {"kind": "uniform_codes"}, "latent_dim": 4}


def model(spec: ExampleSpec, **parts: Any) -> VAE:
    return VAE(parse(ModelConfig, parts), spec)


@pytest.mark.parametrize(
    ("parts", "missing", "name"),
    [
        ({}, None, "nll_bernoulli_dynamic_is50"),
        ({"likelihood": {"kind": "bernoulli", "binarization": "static"}}, None, "nll_bernoulli_static_is50"),
        ({"likelihood": {"kind": "laplace"}}, MissingAtRandom(share=0.25), "nll_laplace_grey_mar0.25_is50"),
        ({"likelihood": {"kind": "categorical", "levels": 8}}, None, "nll_categorical8_is50"),
        (TABLE, MissingCompletelyAtRandom(), "nll_mixed_mcar0.5_is50"),
        (CODES, None, "nelbo_bernoulli_dynamic"),
    ],
)
def test_protocol_tells_apart_what_is_not_comparable(parts: dict[str, Any], missing: Any, name: str) -> None:
    """Estimate or bound, density, levels, binarisation, holes and draws are in the score's name."""
    assert protocol(parse(ModelConfig, parts), ExampleSpec((1,)), missing, 50) == name


def test_model_fits_data_of_the_same_names() -> None:
    """Means and standard deviations may differ; shapes, columns, and what the model is told may not."""
    size, other = Column("size", None, 1.0, 2.0), Column("size", None, 3.0, 4.0)
    colour, more = Column("colour", ("red",)), Column("colour", ("blue", "red"))
    table = ExampleSpec((2,), None, (size, colour))
    assert fits(table, ExampleSpec((2,), ("a",), (other, colour)))
    assert not fits(table, ExampleSpec((2,), None, (size, more)))
    assert not fits(table, ExampleSpec((2,), None, (colour, size)))
    assert not fits(table, ExampleSpec((1, 1, 2)))
    shape, told = (1, 2, 2), ("class", "size")
    images = ExampleSpec(shape, ("a", "b"), None, (size,))
    assert fits(images, ExampleSpec(shape, ("a", "b"), None, (other,)), told)
    assert not fits(images, ExampleSpec(shape, ("a", "c"), None, (other,)), told)
    assert not fits(images, ExampleSpec(shape, ("a", "b"), None, (other, colour)), told)
    assert fits(ExampleSpec(shape, ("a",), None, (size,)), ExampleSpec(shape, ("a", "c")))


def test_unit_changes_carry_a_density_to_other_units() -> None:
    """A normal column scored in one unit, plus the change, is that normal's density in the other; holes do not count."""
    mine = (Column("x", None, 1.0, 2.0), Column("y", None, 0.0, 3.0), Column("c", ("a", "b")))
    theirs = (Column("x", None, -1.0, 5.0), Column("y", None, 2.0, 0.5), Column("c", ("a", "b")))
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 3, generator=generator).abs().round()
    values[torch.rand(6, 3, generator=generator) < 0.3] = torch.nan
    own, other = torch.zeros(6), torch.zeros(6)
    for number, (a, b) in enumerate(zip(mine[:2], theirs[:2], strict=True)):
        x = values[:, number]
        own -= Normal(0, 1).log_prob(((x - a.mean) / a.std).nan_to_num()) * ~x.isnan()
        carried = Normal((a.mean - b.mean) / b.std, a.std / b.std)
        other -= carried.log_prob(((x - b.mean) / b.std).nan_to_num()) * ~x.isnan()
    table = model(ExampleSpec((3,), None, mine), **TABLE)
    change = unit_changes(table, ExampleSpec((3,), None, theirs), [Batch(values[:4]), Batch(values[4:])]).mean()
    assert own.mean().item() + change == pytest.approx(other.mean().item(), rel=1e-5)


def test_models_are_compared_by_the_same_values() -> None:
    """With the plausible ranges of the new data, a model leaves out what is absurd there."""
    mine, theirs = (Column("x", None, 1.0, 2.0),), (Column("x", None, 1.0, 4.0, lowest=-50.0, highest=50.0),)
    table, data = model(ExampleSpec((1,), None, mine), **TABLE), ExampleSpec((1,), None, theirs)
    batch = Batch(torch.tensor([[3.0], [1e12]], dtype=torch.float64))
    assert unit_changes(table, data, [batch]).mean() == pytest.approx(math.log(2 / 4))
    table.examples = with_bounds_of(table.examples, data)
    assert table.examples.columns == (Column("x", None, 1.0, 2.0, lowest=-50.0, highest=50.0),)
    assert unit_changes(table, data, [batch]).mean() == pytest.approx(math.log(2 / 4) / 2)


def test_unit_changes_of_images_are_nothing() -> None:
    """Pixels are in [0, 1] everywhere."""
    spec = ExampleSpec((1, 2, 2))
    assert unit_changes(model(spec), spec, [Batch(torch.zeros(3, *spec.shape))]).tolist() == [0, 0, 0]
