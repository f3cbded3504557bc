"""Several metrics at once: what each needs of the data, and that they agree with the functions they stand for."""

from __future__ import annotations

import pytest
import torch

from vae import inference
from vae.config import ModelConfig
from vae.data.batches import Share
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.errors import DataError
from vae.metrics.reconstruction import psnr
from vae.metrics.suite import measure
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.terms import Inputs


def build(dataset: Dataset) -> VAE:
    config = ModelConfig(latent_dim=3, encoder=MLP(hidden=(8,)), likelihood=Gaussian())
    return VAE(config, example_spec(dataset)).eval()


def test_measure_names_what_it_measures(digits: Dataset) -> None:
    """PSNR is that of the reconstructions, and information is between 0 and log of the number of rows."""
    model = build(digits)
    found = measure(model, digits, ["reconstruction", "information"])
    x = Share.of(digits, "test").load(0, digits.num_rows("test")).values.float() / 255
    expected = psnr(x, inference.reconstruct(model, Inputs(x))).mean().item()
    assert found["psnr_db"] == pytest.approx(expected)
    assert 0 <= found["mutual_information_nats"] <= torch.tensor(float(len(x))).log()
    assert found.keys() == {"psnr_db", "ssim", "mutual_information_nats"}


def test_measure_says_what_the_data_lacks(digits: Dataset, people: Dataset) -> None:
    """Disentanglement without factors and pictures of tables are refused with what would do."""
    with pytest.raises(DataError, match=r"at least 2 categorical attributes, .* has 0; ingest the data with such"):
        measure(build(digits), digits, ["disentanglement"])
    table = ModelConfig.model_validate({"encoder": {"kind": "table"}, "likelihood": {"kind": "mixed"}})
    with pytest.raises(
        DataError, match=r"holds a table, for which only `information` and `imputation` and `synthesis`"
    ):
        measure(VAE(table, example_spec(people)), people, ["reconstruction"])
