"""What a model gives becomes what a caller gets."""

from __future__ import annotations

import torch

from vae.config import ModelConfig
from vae.data.schema import Column, ExampleSpec
from vae.inference.answering.writing import write_spreads
from vae.model import VAE


def test_spreads_of_a_table_are_in_the_units_of_its_columns() -> None:
    """A number's standard deviation is multiplied by its column's; a category's probability of being wrong stays."""
    columns = (Column("age", None, 40.0, 10.0), Column("colour", ("blue", "red"), 0.5, 3.0))
    parts = {"latent_dim": 2, "encoder": {"kind": "table", "hidden": [4]}, "likelihood": {"kind": "mixed"}}
    model = VAE(ModelConfig.model_validate(parts), ExampleSpec((2,), None, columns))
    found = write_spreads(model, torch.tensor([[0.5, 0.25], [2.0, 0.75]]))
    assert found.to_dict("list") == {"age": [5.0, 20.0], "colour": [0.25, 0.75]}
