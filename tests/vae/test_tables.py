"""Numbers of a table, from Parquet to a prediction: nothing is lost that the model could use."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from tests.vae.conftest import Publish
from vae import inference
from vae.answering import answer
from vae.config import Mixed, ModelConfig, TableBody
from vae.data.batches import InOrder, Share
from vae.data.manifest import Column
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.examples import Experience
from vae.likelihoods import restore
from vae.metrics.likelihood import inputs_of
from vae.model import VAE

START = 1.7e9
"""A day of 2023 in Unix seconds, where neighbouring float32 numbers are 128 seconds apart."""
ROWS = 1600


@pytest.fixture(scope="module")
def seconds(publish_table: Publish, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two columns, the first of 1,600 distinct Unix seconds within one hour."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {"time": START + rng.permutation(3600)[:ROWS].astype(float), "load": rng.normal(size=ROWS)},
    )
    columns = [Column(name=name, kind="numeric", dtype="double") for name in table.column_names]
    return publish_table(tmp_path_factory.mktemp("seconds"), table, columns, None, {"train": ROWS})


@pytest.fixture(scope="module")
def model(seconds: Dataset) -> VAE:
    """An untrained model of that table, which may be asked to impute."""
    config = ModelConfig(latent_dim=2, encoder=TableBody(hidden=(8,)), likelihood=Mixed())
    model = VAE(config, example_spec(seconds), seed=0).eval()
    model.experience = Experience(missing=True)
    return model


def test_model_sees_every_distinct_second(seconds: Dataset, model: VAE) -> None:
    """1,600 seconds of one hour are 1,600 values in the encoder's units, and come back to within a millisecond."""
    stored_N = seconds.read_table("train")["time"].to_numpy()
    batches = InOrder(Share.of(seconds, "train"), batch_size=500)
    x_ND = torch.cat([inputs_of(model, batch, torch.Generator()).x for batch in batches])
    assert x_ND.dtype == torch.float32
    assert len(x_ND[:, 0].unique()) == ROWS
    np.testing.assert_allclose(x_ND.std(0, correction=0), 1, rtol=1e-4)
    np.testing.assert_allclose(restore(x_ND, model.examples)[:, 0], stored_N, rtol=0, atol=1e-3)


def test_answers_keep_fractions_of_a_second(seconds: Dataset, model: VAE) -> None:
    """Reconstructions and imputations are the model's float32 outputs in the column's unit, not rounded once more."""
    assert model.examples.columns is not None
    time = model.examples.columns[0]
    rows = seconds.read_table("train").to_pandas()[["time", "load"]]
    x_ND = inference.reconstruct(
        model, model.inputs(torch.from_numpy(rows.to_numpy(copy=True)), generator=torch.Generator())
    )
    expected_N = time.mean + x_ND[:, 0].double().numpy() * time.std
    found = answer(model, rows, {"task": "reconstruct"})
    np.testing.assert_allclose(found["time"], expected_N, rtol=0, atol=1e-3)
    assert found["time"].nunique() > ROWS / 2
    gaps = rows.assign(time=rows["time"].where(np.arange(ROWS) % 2 == 0))
    filled = answer(model, gaps, {"task": "impute", "num_samples": 5})
    pd.testing.assert_series_equal(filled["time"][::2], rows["time"][::2])
    assert filled["time"][1::2].nunique() > ROWS / 4
    drawn = answer(model, gaps[1::2], {"task": "impute", "num_samples": 5, "output": "sample", "n": 1})
    assert drawn["time"].nunique() > ROWS / 4
