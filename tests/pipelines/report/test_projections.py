"""Layout of a latent space in the plane."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from pipelines.report import projections
from vae.errors import ConfigError

POINTS = np.random.default_rng(0).normal(size=(60, 4)) @ np.diag([5.0, 3.0, 0.1, 0.1])


def test_principal_components_keep_the_most_variance() -> None:
    """The coordinates' variances are the two largest eigenvalues of the covariance, and the axes say their share."""
    plane, (first, second) = projections.plane(POINTS, "pca")
    eigenvalues = np.linalg.eigvalsh(np.cov(POINTS.T, bias=True))[::-1]
    np.testing.assert_allclose(plane.var(0), eigenvalues[:2])
    share = 100 * eigenvalues / eigenvalues.sum()
    assert first == f"1st principal component ({share[0]:.0f} % of variance)"
    assert second == f"2nd principal component ({share[1]:.0f} % of variance)"


def test_umap_without_its_extra_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install; the principal components need nothing."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    projections.check("pca")
    for refused in (lambda: projections.check("umap"), lambda: projections.plane(POINTS, "umap")):
        with pytest.raises(ConfigError, match=r"pip install 'betaline\[report-umap\]'"):
            refused()


@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="the extra report-umap is not installed")
def test_umap_keeps_neighbours_together() -> None:
    """Two clusters far apart stay apart, few rows are laid out too, and the same seed gives the same plane."""
    both = np.concatenate([POINTS, POINTS + 100])
    plane, names = projections.plane(both, "umap")
    assert names == ("UMAP 1", "UMAP 2")
    spread = max(plane[:60].std(), plane[60:].std())
    assert np.linalg.norm(plane[:60].mean(0) - plane[60:].mean(0)) > 2 * spread
    np.testing.assert_array_equal(plane, projections.plane(both, "umap")[0])
    for few in (2, 5, 9, 14):
        assert projections.plane(POINTS[:few], "umap")[0].shape == (few, 2)
