"""Metrics of what a model is used for: what they count, and the simple answers beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vae import inference
from vae.config import ModelConfig
from vae.data.batches import Batch
from vae.data.schema import Column, ExampleSpec, Experience
from vae.draws import RowDraws
from vae.errors import DataError
from vae.metrics.reconstruction import psnr
from vae.metrics.suite import claimed
from vae.metrics.uses import denoising, imputation
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.parts.corruptions.gaussian_noise import GaussianNoise
from vae.parts.corruptions.salt_and_pepper import SaltAndPepper
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.terms import Inputs
from vae.seeds import Stream

COLUMNS = (Column("size", None, 10.0, 2.0), Column("colour", ("blue", "green", "red")))


def images() -> VAE:
    config = ModelConfig(latent_dim=3, encoder=MLP(hidden=(8,)), likelihood=Gaussian())
    return VAE(config, ExampleSpec((1, 6, 5))).eval()


def table() -> VAE:
    config = ModelConfig.model_validate(
        {"latent_dim": 2, "encoder": {"kind": "table", "hidden": [8]}, "likelihood": {"kind": "mixed"}}
    )
    return VAE(config, ExampleSpec((2,), None, COLUMNS)).eval()


def people(rows: int = 400) -> Batch:
    generator = np.random.default_rng(0)
    values = np.stack([generator.normal(10, 2, rows), generator.choice(3, rows, p=[0.2, 0.7, 0.1])], axis=1)
    return Batch(torch.from_numpy(values.astype(np.float32)), None)


def test_denoising_is_measured_on_the_noise_of_its_seed() -> None:
    """The noisy images are those of the seed, and the model's answer is the task's."""
    model, x = images(), torch.rand(20, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    found = denoising(model, Inputs(x), GaussianNoise(sigma=0.3), seed=3)
    noisy = GaussianNoise(sigma=0.3).corrupt(x, RowDraws(3, Stream.EVALUATION, 1))
    clean = inference.denoise(model, Inputs(noisy), num_samples=32, seed=3).mean
    assert found["denoise_psnr_db.noisy"] == pytest.approx(psnr(x, noisy.clamp(0, 1)).mean().item())
    assert found["denoise_psnr_db"] == pytest.approx(psnr(x, clean.clamp(0, 1)).mean().item())
    assert found == denoising(model, Inputs(x), GaussianNoise(sigma=0.3), seed=3)


def test_median_takes_out_single_pixels() -> None:
    """Of a smooth image with a few black and white pixels the median leaves nearly nothing."""
    x = torch.linspace(0.3, 0.7, 30).view(1, 1, 6, 5).repeat(8, 1, 1, 1)
    found = denoising(images(), Inputs(x), SaltAndPepper(share=0.1))
    assert found["denoise_psnr_db.median"] > found["denoise_psnr_db.noisy"] + 5


def test_simple_imputation_of_a_table_is_mean_and_mode() -> None:
    """Hidden numbers are one standard deviation off their mean, hidden categories right as often as the mode is there."""
    found = imputation(table(), people())
    assert found["impute_rmse.simple"] == pytest.approx(1, abs=0.15)
    assert found["impute_accuracy.simple"] == pytest.approx(0.7, abs=0.1)
    scores = {f"impute_{what}{name}" for what in ("rmse", "accuracy") for name in ("", ".simple")}
    assert found.keys() == scores | {"impute_few_draws"}
    assert all(math.isfinite(value) for value in found.values())


def test_imputation_of_images_counts_hidden_pixels_alone() -> None:
    """Of images that are all the same the mean of the others is right; what was missing before is nowhere counted."""
    model = images()
    model.experience = Experience(missing=True)
    values = torch.full((12, 1, 6, 5), 51, dtype=torch.uint8)
    observed = torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    found = imputation(model, Batch(values * observed, None, None, observed))
    assert found["impute_rmse.simple"] == pytest.approx(0, abs=1e-6)
    assert found["impute_rmse"] > 0.01


def test_nothing_to_hide_is_refused() -> None:
    """Rows with a single entry each keep it, and then nothing is left to be imputed."""
    rows = people(10)
    rows.values[:, 0] = torch.nan
    with pytest.raises(DataError, match="none of the entries of 10 rows can be hidden"):
        imputation(table(), rows)


def test_claimed_are_the_uses_that_a_model_was_trained_for() -> None:
    """Noise makes a model one that denoises, gaps one that imputes; pictures are reconstructed, rows are not."""
    model = images()
    assert claimed(model) == ("reconstruction",)
    model.experience = Experience(missing=True, corruption="blur")
    assert claimed(model) == ("reconstruction", "denoising", "imputation")
    assert claimed(table()) == ()
