"""Numbers of a table, from Parquet to a prediction: none loses its digits, and an absurd one steers nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from tests.vae.conftest import Publish
from vae import inference
from vae.config import ModelConfig, RunConfig, override
from vae.data.batches import InOrder, Share
from vae.data.parquet import Dataset
from vae.data.plausible import absurd_values
from vae.data.schema import Column, Experience
from vae.data.statistics import example_spec
from vae.data.transforms import transform_of
from vae.draws import RowDraws
from vae.inference.answering import answer
from vae.metrics.likelihood import inputs_of, negative_log_likelihood
from vae.model import VAE
from vae.parts.bodies.table import TableBody
from vae.parts.likelihoods.mixed import Mixed
from vae.seeds import Stream
from vae.training.hooks import TrainingResult
from vae.training.loop import Training

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
    columns = [Column(name, dtype="double") for name in table.column_names]
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
    x_ND = torch.cat([inputs_of(model, batch, RowDraws(0, Stream.EVALUATION)).x for batch in batches])
    assert x_ND.dtype == torch.float32
    assert len(x_ND[:, 0].unique()) == ROWS
    np.testing.assert_allclose(x_ND.std(0, correction=0), 1, rtol=1e-4)
    np.testing.assert_allclose(transform_of(model.examples).in_units(x_ND)[:, 0], stored_N, rtol=0, atol=1e-3)


def test_answers_keep_fractions_of_a_second(seconds: Dataset, model: VAE) -> None:
    """Reconstructions and imputations are the model's float32 outputs in the column's unit, not rounded once more."""
    assert model.examples.columns is not None
    time = model.examples.columns[0]
    rows = seconds.read_table("train").to_pandas()[["time", "load"]]
    x_ND = inference.reconstruct(
        model, model.inputs(torch.from_numpy(rows.to_numpy(copy=True)), draws=RowDraws(0, Stream.EVALUATION))
    )
    expected_N = time.mean + x_ND[:, 0].double().numpy() * time.std
    found = answer(model, rows, {"task": "reconstruct"})
    np.testing.assert_allclose(found["time"], expected_N, rtol=0, atol=1e-3)
    assert found["time"].nunique() > ROWS / 2
    gaps = rows.assign(time=rows["time"].where(np.arange(ROWS) % 2 == 0))
    filled = answer(model, gaps, {"task": "impute", "num_samples": 200})
    pd.testing.assert_series_equal(filled["time"][::2], rows["time"][::2])
    assert filled["time"][1::2].nunique() > ROWS / 4
    drawn = answer(model, gaps[1::2], {"task": "impute", "num_samples": 200, "output": "sample", "n": 1})
    assert drawn["time"].nunique() > ROWS / 4


# --- absurd values --------------------------------------------------------------------------------------------------

NAMES = ("one", "two", "three", "four")
SPLITS = {"train": 2000, "validation": 200, "test": 500}
SMALL = override(
    RunConfig(),
    {
        "model.latent_dim": 2,
        "model.encoder": {"kind": "table", "hidden": [32]},
        "model.likelihood": {"kind": "mixed"},
        "training.epochs": 10,
        "training.batch_size": 50,
        "training.learning_rate": 1e-2,
        "training.patience_epochs": None,
    },
)

Train = Callable[[Mapping[tuple[int, str], float]], tuple[Dataset, TrainingResult]]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Four standard normal columns that two factors explain but for 1 % of the variance."""
    rng = np.random.default_rng(0)
    loadings = np.array([[1.0, 0.6, 0.0, 0.8], [0.0, 0.8, 1.0, -0.6]])
    values_ND = rng.normal(size=(sum(SPLITS.values()), 2)) @ loadings * 0.99**0.5
    return pd.DataFrame(values_ND + 0.1 * rng.normal(size=values_ND.shape), columns=list(NAMES))


@pytest.fixture(scope="module")
def train(publish_table: Publish, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains on those rows after some of their entries, by row and column, were set to another value."""

    def trained(changes: Mapping[tuple[int, str], float]) -> tuple[Dataset, TrainingResult]:
        changed = rows.copy()
        for (row, column), value in changes.items():
            changed.loc[row, column] = value
        columns = [Column(name, dtype="double") for name in NAMES]
        table, folder = pa.Table.from_pandas(changed, preserve_index=False), tmp_path_factory.mktemp("rows")
        dataset = publish_table(folder, table, columns, None, SPLITS)
        return dataset, Training(SMALL, dataset).run()

    return trained


@pytest.fixture(scope="module")
def sound(train: Train) -> tuple[Dataset, TrainingResult]:
    """The training on the rows as they are."""
    return train({})


def nll_of(result: TrainingResult, dataset: Dataset) -> float:
    """Negative log-likelihood of the test split, in nats per example."""
    batches = InOrder(Share.of(dataset, "test"))
    return negative_log_likelihood(result.model, batches, num_samples=50, seed=0).nats


def test_absurd_training_value_leaves_the_model_right(train: Train, rows: pd.DataFrame) -> None:
    """Ordinary rows are reconstructed to a fraction of a standard deviation, and the test score is that of the same data
    with a gap in the place of 1e12.
    """
    dataset, result = train({(17, "two"): 1e12})
    ordinary = rows.iloc[-500:].reset_index(drop=True)
    found = answer(result.model, ordinary, {"task": "reconstruct"})
    assert np.sqrt(np.square(found - ordinary).mean()).max() < 0.25
    gap_dataset, gap_result = train({(17, "two"): np.nan})
    assert nll_of(result, dataset) == pytest.approx(nll_of(gap_result, gap_dataset), rel=1e-3)
    assert [one.value for one in absurd_values(dataset, result.model.examples).named] == ["1e+12"]
    assert not result.model.experience.missing


def test_absurd_value_of_other_splits_moves_no_score(train: Train, sound: tuple[Dataset, TrainingResult]) -> None:
    """1e30 in validation and in test leaves the training as it was, and the scores are off by what a gap in one row costs a
    model that has met no gaps.
    """
    dataset, result = train({(2017, "two"): 1e30, (2317, "three"): 1e30})
    for epoch, other in zip(result.history, sound[1].history, strict=True):
        assert epoch.train_distortion == other.train_distortion
        assert epoch.validation_negative_bound == pytest.approx(other.validation_negative_bound, abs=1)
    assert nll_of(result, dataset) == pytest.approx(nll_of(sound[1], sound[0]), abs=0.2)


def test_absurd_value_in_a_request_counts_as_missing(
    sound: tuple[Dataset, TrainingResult], rows: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks answer as if the cell were empty and log its name; impute gives it back as it came."""
    model = sound[1].model
    asked = rows.iloc[:3].astype(float).reset_index(drop=True)
    absurd, empty = asked.copy(), asked.copy()
    absurd.loc[1, "two"], empty.loc[1, "two"] = 1e12, np.nan
    with caplog.at_level(logging.WARNING, "vae"):
        for task in ("reconstruct", "score"):
            found, expected = (answer(model, given, {"task": task}) for given in (absurd, empty))
            np.testing.assert_array_equal(found, expected)
    assert (
        "1 values are absurd and count as missing; the first: column 'two', row 1: 1e+12 is not within" in caplog.text
    )
    model.experience = Experience(missing=True)
    absurd.loc[2, "two"] = np.nan
    filled = answer(model, absurd, {"task": "impute", "num_samples": 20})
    assert filled.loc[1, "two"] == 1e12
    assert abs(filled.loc[2, "two"] - asked.loc[2, "two"]) < 1
    with pytest.raises(ValueError, match="nothing is observed of row 0; leave such rows out"):
        answer(model, np.full((1, 4), 1e12), {"task": "reconstruct"})
