"""Models of images and tables, and the calls that tests make to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from vae import serving
from vae.config.model import ModelConfig
from vae.data.schema import Column, ExampleSpec
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.parts.likelihoods.gaussian import Gaussian

SHAPE = (1, 4, 3)
LATENT = 2
CLASSES = ("cat", "dog", "emu")
ATTRIBUTES = (Column("size", None, 3.0, 2.0), Column("unused"), Column("colour", ("light, blue", "red")))
COLUMNS = (Column("age", None, 40.0, 10.0), Column("colour", ("blue", "green", "red")), Column("level", ("1", "2")))


def build(condition: Any = "none", shape: tuple[int, ...] = SHAPE, **parts: Any) -> VAE:
    config = ModelConfig.model_validate(
        {"latent_dim": LATENT, "encoder": MLP(hidden=(8,)), "likelihood": Gaussian(), "condition": condition, **parts}
    )
    examples = ExampleSpec(shape, CLASSES, attributes=ATTRIBUTES)
    if len(shape) == 1:
        examples = ExampleSpec(shape, CLASSES, COLUMNS)
    return VAE(config, examples).eval()


def served(model: VAE) -> serving.RegisteredVAE:
    registered = serving.RegisteredVAE()
    registered.model = model
    return registered


PLAIN = build()
CONDITIONAL = build("class")
SEVERAL = build(("class", "size", "colour"))
GATED = build(beta_gates=True)
for gate in (stage.gate for stage in GATED.decoder.dense.stages):  # pyright: ignore
    torch.nn.init.normal_(gate.weight, generator=torch.Generator().manual_seed(0))  # they start at 0, open alike
TABLE = build(shape=(3,), encoder={"kind": "table", "hidden": [8]}, likelihood={"kind": "mixed", "numeric": "gaussian"})
PEOPLE = pd.DataFrame({"age": [20.0, np.nan, 61.5], "colour": ["red", "blue", None], "level": [2, 1, 1]})


def predict(inputs: Any, model: VAE = PLAIN, **params: Any) -> Any:
    return served(model).predict(None, inputs, params)


def images(rows: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((rows, *SHAPE), dtype=np.float32)


def refusal(inputs: Any, model: VAE = PLAIN, **params: Any) -> str:
    with pytest.raises(ValueError) as error:
        predict(inputs, model, **params)
    return str(error.value)
