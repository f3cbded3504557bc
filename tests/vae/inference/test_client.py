"""The typed client of a pulled model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vae.inference.served import (
    LATENT,
    SHAPE,
    build,
    images,
    predict,
    served,
)
from vae.data.schema import Experience
from vae.inference.client import Pulled
from vae.model import VAE
from vae.parts.directions import Directions


def test_client_asks_what_predict_answers() -> None:
    """Each method of the typed client gives what its task gives."""
    model = build("class")
    model.experience = Experience(missing=True)
    model.directions = Directions(["size"], LATENT)
    client, x = Pulled(Answering(model)), images(4)
    told = {"condition": ["dog"]}
    assert np.array_equal(client.reconstruct(x, condition="dog"), predict(x, model, **told))
    assert np.array_equal(client.encode(x, condition="dog").std, predict(x, model, task="encode", **told)["std"])
    z = np.zeros((2, LATENT), np.float32)
    assert np.array_equal(client.decode(z, condition="dog"), predict(z, model, task="decode", **told))
    assert np.array_equal(client.generate(3, condition="dog"), predict(None, model, task="generate", n=3, **told))
    assert np.array_equal(client.score(x, condition="dog"), predict(x, model, task="score", **told))
    assert client.denoise(x, condition="dog", std=True).shape == x.shape
    assert client.impute(x, condition="dog").shape == x.shape
    assert client.impute_many(x, 2, condition="dog").shape == (4, 2, *SHAPE)
    assert client.impute_ess(x, condition="dog").shape == (4,)
    assert client.interpolate(x.reshape(2, 2, *SHAPE), 3, condition="dog").shape == (2, 3, *SHAPE)
    assert client.traverse(x, n=3, condition="dog").examples.shape == (4, LATENT, 3, *SHAPE)
    assert client.edit(x, "size", 0.0, condition="dog").shape == x.shape
    assert np.array_equal(client.transfer(x, "emu"), predict(x, model, task="transfer", target=["emu"]))


class Answering:
    """A model as MLflow pulls it, without MLflow."""

    def __init__(self, model: VAE) -> None:
        self.model = served(model)

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        return self.model.predict(None, data, params)
