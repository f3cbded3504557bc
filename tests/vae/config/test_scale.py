"""The scale of a dataset against closed forms: linear Gaussian data, Bernoulli entropies, hidden entries, constants."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from tests.vae.conftest import Publish
from vae.config import RunConfig, override
from vae.config.scale import Scale, scale_of
from vae.config.suiting import fitted
from vae.data.parquet import Dataset
from vae.data.schema import Column

SIDE, ROWS = 4, 4000
SPLITS = {"train": ROWS, "validation": 10}
LEARNED = {"kind": "gaussian", "sigma": "learned"}
PER_PIXEL = {"kind": "gaussian", "sigma": "per_pixel"}


def scale(dataset: Dataset, likelihood: dict[str, Any], **changes: Any) -> Scale:
    body = {"model.encoder": {"kind": "table"}} if likelihood["kind"] == "mixed" else {}
    return scale_of(override(RunConfig(), {"model.likelihood": likelihood, **body, **changes}), dataset)


def _linear(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of 16 values that are linear in two factors, around a half; and their covariance."""
    weights = rng.normal(size=(16, 2)) * (0.06, 0.04)
    noise = rng.uniform(0.01, 0.04, size=16)
    values = 0.5 + rng.normal(size=(ROWS + 10, 2)) @ weights.T + rng.normal(size=(ROWS + 10, 16)) * noise
    return values, weights @ weights.T + np.diag(noise**2)


@pytest.fixture(scope="module")
def linear(publish: Publish, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, NDArray[np.float64]]:
    """Images of a linear Gaussian model, and the covariance of their pixels."""
    values, covariance = _linear(np.random.default_rng(0))
    pixels = np.rint(values.clip(0, 1) * 255).astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    return publish(tmp_path_factory.mktemp("linear"), pixels, None, SPLITS), covariance


def test_critical_betas_of_one_learned_sigma_are_eigenvalues(linear: tuple[Dataset, NDArray[np.float64]]) -> None:
    """With one σ they are the eigenvalues of the covariance over the mean variance, within sampling error."""
    dataset, covariance = linear
    expected = np.linalg.eigvalsh(covariance)[::-1] / np.diag(covariance).mean()
    found = scale(dataset, LEARNED)
    assert found.critical_betas[:2] == pytest.approx(expected[:2], rel=0.06)
    assert found.critical_betas[2:] == pytest.approx(expected[2:], rel=0.2, abs=0.02)
    assert found.total_variance == pytest.approx(16, rel=0.01)


def test_directions_of_chance_are_not_critical(publish: Publish, tmp_path: Path) -> None:
    """Of 64 values that vary each by itself none is worth a latent above β = 1, though 200 rows vary more along some."""
    pixels = np.rint(255 * np.random.default_rng(0).uniform(0, 1, (210, 1, 8, 8))).astype(np.uint8)
    dataset = publish(tmp_path, pixels, None, {"train": 200, "validation": 10})
    assert scale(dataset, LEARNED).critical_beta == pytest.approx(1.0, abs=0.6)


def test_critical_betas_of_a_fixed_sigma_are_in_its_units(linear: tuple[Dataset, NDArray[np.float64]]) -> None:
    """With a fixed σ they are the eigenvalues over σ², whatever the variance of the data."""
    dataset, covariance = linear
    expected = np.linalg.eigvalsh(covariance)[::-1][:2] / 0.1**2
    fixed = {"kind": "gaussian", "sigma": "fixed", "initial_sigma": 0.1}
    assert scale(dataset, fixed).critical_betas[:2] == pytest.approx(expected, rel=0.06)


def test_critical_betas_of_sigmas_per_pixel_are_of_the_correlations(
    linear: tuple[Dataset, NDArray[np.float64]],
) -> None:
    """Where each pixel has its own σ they are the eigenvalues of the correlations, and the spread adds none above them."""
    dataset, covariance = linear
    deviation = np.sqrt(np.diag(covariance))
    expected = np.linalg.eigvalsh(covariance / np.outer(deviation, deviation))[::-1]
    assert scale(dataset, PER_PIXEL).critical_beta == pytest.approx(expected[0], rel=0.06)


def test_spread_that_varies_raises_the_critical_beta(publish: Publish, tmp_path: Path) -> None:
    """Pixels of zero correlation whose spread one factor decides are worth a latent only where σ is decoded."""
    rng = np.random.default_rng(0)
    spread = np.where(rng.random((ROWS + 10, 1)) < 0.5, 0.02, 0.12)
    values = 0.5 + spread * rng.normal(size=(ROWS + 10, 16))
    pixels = np.rint(values.clip(0, 1) * 255).astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    dataset = publish(tmp_path, pixels, None, SPLITS)
    assert scale(dataset, LEARNED).critical_beta < 1.3
    assert scale(dataset, PER_PIXEL).critical_beta > 4


def test_marginal_nats_of_bernoulli_pixels_are_their_entropies(publish: Publish, tmp_path: Path) -> None:
    """A decoder that ignores its latent pays the sum of the pixels' entropies, and independent pixels have β near 1."""
    rng = np.random.default_rng(0)
    on = rng.uniform(0.1, 0.9, size=16)
    pixels = np.where(rng.random((ROWS + 10, 16)) < on, 255, 0).astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    found = scale(publish(tmp_path, pixels, None, SPLITS), {"kind": "bernoulli"})
    entropies = -(on * np.log(on) + (1 - on) * np.log(1 - on))
    assert found.marginal_nats == pytest.approx(entropies.sum(), rel=0.01)
    assert found.critical_beta == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("likelihood", "levels"), [({"kind": "discretized_logistic"}, 256), ({"kind": "categorical", "levels": 16}, 16)]
)
def test_marginal_nats_of_levels_are_their_entropies(
    publish: Publish, tmp_path: Path, likelihood: dict[str, Any], levels: int
) -> None:
    """The nats of a level's probability, not of a density: of normal pixels, the normal's entropy in levels."""
    drawn = np.random.default_rng(0).normal(128, 40, (ROWS + 10, 1, SIDE, SIDE))
    found = scale(publish(tmp_path, drawn.clip(0, 255).astype(np.uint8), None, SPLITS), likelihood)
    entropy = 0.5 * math.log(2 * math.pi * math.e * (40 * levels / 256) ** 2)
    assert found.marginal_nats == pytest.approx(16 * entropy, rel=0.02)


def test_grey_of_bernoulli_pixels_counts_as_their_own_noise(publish: Publish, tmp_path: Path) -> None:
    """Pixels drawn from grey values have the variance of their draws, p (1 − p), so that their directions sum to 16."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 200, size=(ROWS + 10, 1, SIDE, SIDE)).astype(np.uint8)
    found = scale(publish(tmp_path, pixels, None, SPLITS), {"kind": "bernoulli"})
    assert found.total_variance == pytest.approx(16, rel=0.01)
    assert found.critical_beta == pytest.approx(1, abs=0.1)


def test_hidden_entries_leave_the_critical_betas_of_what_is_seen(publish_table: Publish, tmp_path: Path) -> None:
    """A third of the entries hidden at random shrinks correlations by that share, and the nats by the same."""
    values, _ = _linear(np.random.default_rng(0))
    table = pa.table({f"x{d}": values[:, d] for d in range(16)})
    columns = [Column(f"x{d}", dtype="double") for d in range(16)]
    dataset = publish_table(tmp_path, table, columns, None, SPLITS)
    likelihood = {"kind": "mixed"}
    whole = scale(dataset, likelihood)
    hidden = scale(dataset, likelihood, **{"data.missing": {"kind": "mcar", "share": 1 / 3}})
    # Of a pair of entries both are seen in 4 of 9 rows, and each value's noise counts in 2 of 3.
    expected = 1 + (whole.critical_beta - 1) * 2 / 3
    assert hidden.critical_beta == pytest.approx(expected * 2 / 3, rel=0.06)
    assert hidden.marginal_nats == pytest.approx(whole.marginal_nats * 2 / 3, rel=0.02)


def test_categories_count_by_the_fisher_information_of_their_probabilities(
    publish_table: Publish, tmp_path: Path
) -> None:
    """A category of C values has C − 1 units of variance, and the nats of its entropy."""
    rng = np.random.default_rng(0)
    share = np.array([0.2, 0.3, 0.5])
    colours = [np.array(["blue", "green", "red"])[rng.choice(3, ROWS + 10, p=share)] for _ in range(2)]
    table = pa.table({"one": colours[0], "other": colours[1]})
    columns = [Column(name, ("blue", "green", "red"), dtype="string") for name in ("one", "other")]
    found = scale(publish_table(tmp_path, table, columns, None, SPLITS), {"kind": "mixed"})
    assert found.total_variance == pytest.approx(4, rel=0.01)
    assert found.marginal_nats == pytest.approx(-2 * (share * np.log(share)).sum(), rel=0.01)
    assert found.critical_beta == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("transform", ["auto", "parametric"])
@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_marginal_nats_of_curved_columns_are_their_entropies(
    transform: str, zeros: float, publish_table: Publish, tmp_path: Path
) -> None:
    """A log-normal amount in standard deviations has its differential entropy, whatever curve; zeros have a probability."""
    rng = np.random.default_rng(0)
    spread, is_zero = 0.8, rng.random((2, ROWS + 10)) < zeros
    amounts = np.where(is_zero, 0.0, np.exp(1 + spread * rng.normal(size=is_zero.shape)))
    columns = [Column(name, type="money") for name in ("one", "other")]
    dataset = publish_table(
        tmp_path, pa.table(dict(zip(("one", "other"), amounts, strict=True))), columns, None, SPLITS
    )
    found = scale(dataset, {"kind": "mixed", "numeric": "gaussian"}, **{"data.transform": transform})
    of_zero = zeros * np.log(zeros) + (1 - zeros) * np.log(1 - zeros) if zeros else 0.0
    density = 1 + 0.5 * np.log(2 * np.pi * np.e * spread**2) - np.log(amounts.std(1))
    expected = float(((1 - zeros) * density - of_zero).sum())
    assert found.marginal_nats == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("likelihood", [{"kind": "bernoulli"}, LEARNED, PER_PIXEL])
def test_constant_dataset_is_worth_no_latent(likelihood: dict[str, Any], publish: Publish, tmp_path: Path) -> None:
    """Where no value varies, every β is too heavy, and every figure is finite."""
    pixels = np.full((ROWS + 10, 1, SIDE, SIDE), 255, np.uint8)
    found = scale(publish(tmp_path, pixels, None, SPLITS), likelihood)
    assert found.critical_betas == (0.0,)
    assert np.isfinite(found.marginal_nats)


def linear_rate(scale: Scale, beta: float, latent_dim: int) -> float:
    """The rate of a linear Gaussian model of known noise: half a log for each dimension that has not collapsed."""
    return sum(0.5 * math.log(one / beta) for one in scale.critical_betas[:latent_dim] if one > beta)


@pytest.mark.parametrize("rate", [0.1, 1.0, 2.0, 30.0])
def test_beta_at_a_rate_has_that_rate(rate: float) -> None:
    """At the β for a rate, a linear model of the data has the rate: of one dimension at high β, of all at a low one."""
    scale = Scale((8.0, 3.0, 2.9, 0.5, 0.0), 10.0)
    assert linear_rate(scale, scale.beta_at(rate, latent_dim=10), 10) == pytest.approx(rate)


def test_beta_at_a_rate_looks_at_the_dimensions_of_the_latent_alone() -> None:
    """A latent of one dimension needs a smaller β for the same rate; data without structure has none."""
    scale = Scale((8.0, 8.0), 10.0)
    assert scale.beta_at(1.0, latent_dim=1) == pytest.approx(8.0 / 2.718281828**2)
    assert scale.beta_at(1.0, latent_dim=2) == pytest.approx(8.0 / 2.718281828)
    assert Scale((0.0,), 0.0).beta_at(1.0, latent_dim=2) == 0.0


def test_derived_beta_leaves_something_to_tell(digits: Dataset) -> None:
    """The β that `beta_vae` derives from digits is above 1, and a linear model keeps 2 nats at it."""
    config = fitted("beta_vae", digits).config()
    assert 1 < config.objective.beta < 4
    found = linear_rate(scale_of(config, digits), config.objective.beta, config.model.latent_dim)
    assert found == pytest.approx(2.0, abs=0.05)


def test_hollowness_is_one_of_normal_data_and_more_of_a_curve(publish: Publish, tmp_path: Path) -> None:
    """Normal draws lie as near to rows as rows do where the rows are normal, and farther where these lie on a curve."""
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, 2 * math.pi, ROWS + 10)
    curve = np.stack([np.cos(turn), np.sin(turn), np.cos(3 * turn), np.sin(3 * turn)], 1)
    found = []
    for name, values in (
        ("normal", rng.normal(size=(ROWS + 10, 4))),
        ("curve", curve + 0.02 * rng.normal(size=curve.shape)),
    ):
        pixels = np.rint((0.5 + 0.1 * values).clip(0, 1) * 255).astype(np.uint8).reshape(-1, 1, 2, 2)
        found.append(scale(publish(tmp_path / name, pixels, None, SPLITS), LEARNED).hollowness)
    assert found[0] == pytest.approx(1.0, abs=0.15)
    assert found[1] > 3


def test_share_of_variance_that_latents_hold(linear: tuple[Dataset, NDArray[np.float64]]) -> None:
    """It is the part of the largest eigenvalues in the trace."""
    dataset, covariance = linear
    values = np.linalg.eigvalsh(covariance)[::-1] / np.diag(covariance).mean()
    assert scale(dataset, LEARNED).held_by(2) == pytest.approx(values[:2].sum() / values.sum(), rel=0.06)
