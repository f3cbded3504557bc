"""The mixture fitted to the aggregate posterior: its draws look like the latents that it was fitted to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vae.parts.aggregate import AggregateMixture, fit_aggregate

MEANS = np.array([[-20.0, 0.0], [20.0, 5.0]])
COVARIANCES = np.array([[[4.0, 1.8], [1.8, 1.0]], [[0.25, 0.0], [0.0, 9.0]]])
SHARES = (0.7, 0.3)


def latents(rows: int = 4000) -> NDArray[np.float32]:
    """Two clusters far apart, of unequal shares, spreads and correlations."""
    rng = np.random.default_rng(0)
    counts = [round(rows * share) for share in SHARES]
    parts = [
        rng.multivariate_normal(mean, covariance, count)
        for mean, covariance, count in zip(MEANS, COVARIANCES, counts, strict=True)
    ]
    return np.concatenate(parts).astype(np.float32)


def noise(rows: int) -> torch.Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def mixture() -> AggregateMixture:
    return fit_aggregate(latents(), 2, seed=0)


def test_draws_have_the_shares_means_and_covariances_of_the_latents(mixture: AggregateMixture) -> None:
    """Cluster by cluster, within a few standard errors of 20,000 draws."""
    drawn = mixture.sample(noise(20_000)).numpy()
    for left, share, mean, covariance in zip((True, False), SHARES, MEANS, COVARIANCES, strict=True):
        cluster = drawn[(drawn[:, 0] < 0) == left]
        assert len(cluster) / len(drawn) == pytest.approx(share, abs=0.02)
        np.testing.assert_allclose(cluster.mean(0), mean, atol=0.2)
        np.testing.assert_allclose(np.cov(cluster.T), covariance, atol=0.12 * covariance.max())


def test_temperature_scales_the_spread_within_a_component(mixture: AggregateMixture) -> None:
    """At temperature ½ a draw is half as far from its component's mean; the choice of the component is the same."""
    whole, half, none = (mixture.sample(noise(64), temperature) for temperature in (1.0, 0.5, 0.0))
    assert len(none.unique(dim=0)) == 2
    torch.testing.assert_close(half - none, (whole - none) / 2)


@pytest.mark.parametrize(("rows", "components"), [(200, 8), (25, 2), (3, 1)])
def test_few_latents_have_fewer_components(rows: int, components: int) -> None:
    """Each component has ten latents at least, if there is more than one."""
    z_NL = np.random.default_rng(0).standard_normal((rows, 2)).astype(np.float32)
    assert len(fit_aggregate(z_NL, 8, seed=0).log_weights) == components
