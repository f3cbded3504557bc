"""What a caller gives becomes what a model takes, row by row."""

from __future__ import annotations

import numpy as np
import torch

from vae.config import ModelConfig
from vae.data.schema import ExampleSpec
from vae.inference.answering import Request
from vae.inference.answering.reading import read_pairs
from vae.model import VAE

SHAPE = (1, 2, 2)


def test_rows_of_a_pair_have_their_own_gaps_and_conditions() -> None:
    """The second row of a pair is read with what is missing of it and with its own class."""
    config = ModelConfig.model_validate(
        {"latent_dim": 2, "encoder": {"kind": "mlp", "hidden": [4]}, "condition": "class"}
    )
    model = VAE(config, ExampleSpec(SHAPE, ("cat", "dog")))
    pairs = np.random.default_rng(0).random((3, 2, *SHAPE), dtype=np.float32)
    pairs[:, 1, 0, 0, 0] = np.nan
    request = Request(task="interpolate", condition=["cat", "dog"] * 3)
    first, second = read_pairs(model, pairs, request)
    assert first.observed is not None
    assert first.observed.all()
    assert second.observed is not None
    assert torch.equal(second.observed, torch.from_numpy(~np.isnan(pairs[:, 1])))
    assert torch.equal(first.x, torch.from_numpy(pairs[:, 0]))
    assert first.condition is not None
    assert second.condition is not None
    assert first.condition.argmax(1).tolist() == [0, 0, 0]
    assert second.condition.argmax(1).tolist() == [1, 1, 1]
