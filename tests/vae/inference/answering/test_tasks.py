"""Each parameter of a request reaches the task that it is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae import inference
from vae.config import ModelConfig
from vae.data.schema import ExampleSpec, Experience
from vae.inference.answering import answer
from vae.model import VAE
from vae.parts.terms import Inputs

SHAPE = (1, 3, 3)


def build() -> VAE:
    parts = {"latent_dim": 2, "encoder": {"kind": "mlp", "hidden": [8]}, "likelihood": {"kind": "gaussian"}}
    model = VAE(ModelConfig.model_validate(parts), ExampleSpec(SHAPE)).eval()
    model.experience = Experience(missing=True)
    return model


def images(rows: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((rows, *SHAPE), dtype=np.float32)


def ask(model: VAE, inputs: Any, **params: Any) -> Any:
    return answer(model, inputs, params)


def test_spread_of_a_denoised_image_is_that_of_the_estimate() -> None:
    """`output` std gives the standard deviations, mean the cleaned images."""
    model, x = build(), images()
    expected = inference.denoise(model, Inputs(torch.from_numpy(x)), num_samples=5, seed=3)
    for output, value in (("mean", expected.mean), ("std", expected.std)):
        found = ask(model, x, task="denoise", num_samples=5, seed=3, output=output)
        np.testing.assert_array_equal(found, value.numpy())


def test_imputations_depend_on_their_seed() -> None:
    """Several imputations repeat with a seed, and are others with another one."""
    model, x = build(), images()
    x[:, 0, 0, 0] = np.nan
    first, again, other = (
        ask(model, x, task="impute", output="sample", n=2, num_samples=50, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_traversal_goes_as_far_as_its_extent() -> None:
    """The values that a dimension is set to end at ±extent."""
    assert ask(build(), images(), task="traverse", n=3, extent=0.5)["values"].tolist() == [-0.5, 0.0, 0.5]
