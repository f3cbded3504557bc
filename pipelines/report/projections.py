"""Layout of a latent space of many dimensions in the plane. The only file that imports umap, which is an extra.

Shapes: N rows, L latent dimensions.
"""

from __future__ import annotations

import importlib.util

import numpy as np
from numpy.typing import NDArray

from pipelines.stages.fields import Projection
from vae.errors import ConfigError

Points = NDArray[np.float64]

UMAP_SEED = 0
DESCRIBED = {
    "pca": "projected onto their first two principal components",
    "umap": "laid out by UMAP, which keeps neighbours together; distances between clusters, and the axes, mean nothing",
}


def check(projection: Projection) -> None:
    """Checks that a projection can be drawn here, before anything is trained for it.

    Raises:
        ConfigError: If its extra is not installed.
    """
    if projection == "umap" and importlib.util.find_spec("umap") is None:
        raise ConfigError(
            "projection: umap needs umap-learn, which is not installed here: pip install 'betaline[report-umap]', or "
            "use pca"
        )


def plane(points_NL: Points, projection: Projection) -> tuple[Points, tuple[str, str]]:
    """Returns three dimensions or more in two [N,2], and the labels of the axes.

    Raises:
        ConfigError: If the extra of the projection is not installed.
    """
    return _principal_components(points_NL) if projection == "pca" else (_umap(points_NL), ("UMAP 1", "UMAP 2"))


def _principal_components(points_NL: Points) -> tuple[Points, tuple[str, str]]:
    centred = points_NL - points_NL.mean(0)
    _, singular, axes_LL = np.linalg.svd(centred, full_matrices=False)
    if len(singular) < 2:
        return points_NL[:, :2], ("posterior mean, dimension 0", "posterior mean, dimension 1")
    # A principal axis has no sign of its own: its largest entry is made positive, so that two reports look alike.
    axes_2L = axes_LL[:2] * np.sign(axes_LL[:2][[0, 1], np.abs(axes_LL[:2]).argmax(1)])[:, None]
    share = 100 * singular**2 / max((singular**2).sum(), np.finfo(float).tiny)
    first, second = (
        f"{rank} principal component ({part:.0f} % of variance)"
        for rank, part in zip(("1st", "2nd"), share, strict=False)
    )
    return centred @ axes_2L.T, (first, second)


def _umap(points_NL: Points) -> Points:
    """Lays out points by the authors' implementation of UMAP, seeded.

    References:
        McInnes, Healy & Melville, UMAP: Uniform Manifold Approximation and Projection (2018).
        https://arxiv.org/abs/1802.03426
    """
    if len(points_NL) < 4:
        return points_NL[:, :2]  # nothing to lay out
    check("umap")
    from umap import UMAP  # pyright: ignore[reportMissingImports]

    # It refuses more neighbours than rows, and for few rows its spectral start refuses as many eigenvectors.
    neighbours, start = min(15, len(points_NL) - 1), "spectral" if len(points_NL) > 10 else "random"
    layout = UMAP(n_neighbors=neighbours, init=start, random_state=UMAP_SEED, n_jobs=1)
    return np.asarray(layout.fit_transform(points_NL), np.float64)
