"""Similarity of generated to real examples in a space of features.

Every function takes features of real and of generated examples, such as `FeatureNet.features` returns; the features' name
is part of a score. Use real examples that neither the model nor the feature net was trained on. All numbers are float64.

Memory: distances are computed in blocks of rows of at most `block_mib` MiB (one row at least); with its successor and its
comparisons a block takes less than three times that, on top of two copies of the features. The result does not depend on
the size of the blocks.

Shapes: N real examples, M generated ones, F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae.errors import DataError

Array = NDArray[np.float64]

MIN_SAMPLES = 2048
BLOCK_MIB = 256.0
ROUNDING = 1e-12


def frechet_distance(features_a_NF: Array, features_b_MF: Array, *, min_samples: int = MIN_SAMPLES) -> float:
    """Returns the squared Fréchet distance of two sets as Gaussians, in squared feature units.

    Protocol: FID in the given features; 0 for equal sets. Covariances are unbiased (N − 1). The estimate is too large
    by about
    1/N, so compare only scores of equal N and M.

        |μ_a − μ_b|² + tr Σ_a + tr Σ_b − 2 tr (Σ_a Σ_b)^½

    With Σ = RᵀR from a QR decomposition of the centred features, the eigenvalues of Σ_a Σ_b are the squared singular values
    of R_a R_bᵀ, so the last trace is their plain sum: real, and exact where a covariance is singular.

    Args:
        features_a_NF: Features of one set.
        features_b_MF: Features of the other set; the distance is symmetric.
        min_samples: Minimum size of a set; a covariance of F features is singular below F + 1.

    Raises:
        DataError: If the sets are too small, their features differ in number, or are not finite.

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule (2017), eq. 6. https://arxiv.org/abs/1706.08500
    """
    a, b = _checked("frechet_distance", features_a_NF, features_b_MF, max(min_samples, 2))
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return float(max(0.0, shift + np.square(root_a).sum() + np.square(root_b).sum() - 2 * cross))


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares of each set that lie on the other's manifold, both in [0, 1]."""

    precision: float
    """Share of generated examples that lie near real ones: fidelity."""
    recall: float
    """Share of real examples that lie near generated ones: diversity."""


def precision_recall(
    real_NF: Array, generated_MF: Array, *, k: int = 3, block_mib: float = BLOCK_MIB
) -> PrecisionRecall:
    """Returns improved precision and recall.

    Protocol: a set's manifold is the union of balls around its examples, each as wide as the Euclidean distance to the k-th
    nearest other one, the surface included. Outliers and scattered examples widen a manifold by much: real ones flatter
    precision, generated ones recall. `density_coverage` is less easily fooled.

    Args:
        real_NF: Features of real examples.
        generated_MF: Features of generated examples; use N = M, as the paper does.
        k: Number of neighbours.
        block_mib: Memory of a block of distances, in MiB.

    Raises:
        DataError: If a set has k examples or fewer, features differ in number, or are not finite.

    References:
        Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models (2019), eq. 1 and 2.
        https://arxiv.org/abs/1904.06991
    """
    real, generated = _checked("precision_recall", real_NF, generated_MF, k + 1)
    real_radius_N, generated_radius_M = _square_radii(real, k, block_mib), _square_radii(generated, k, block_mib)
    precise_M = np.zeros(len(generated), dtype=bool)
    num_recalled = 0
    for rows, square in _square_distances(real, generated, block_mib):
        precise_M |= (square <= real_radius_N[rows, None]).any(0)
        num_recalled += int((square <= generated_radius_M).any(1).sum())
    return PrecisionRecall(float(precise_M.mean()), num_recalled / len(real))


@dataclass(frozen=True)
class DensityCoverage:
    """Fidelity and diversity, counted around the real examples alone."""

    density: float
    """Mean number of real balls around a generated example, divided by k; 1 is expected of equal distributions, more is
    possible."""
    coverage: float
    """Share of real balls that hold a generated example, in [0, 1]; 1 − 2⁻ᵏ is expected of equal distributions at N = M."""


def density_coverage(
    real_NF: Array, generated_MF: Array, *, k: int = 5, block_mib: float = BLOCK_MIB
) -> DensityCoverage:
    """Returns density and coverage.

    Protocol: each real example has a closed ball whose radius is the Euclidean distance to its k-th nearest other
    example. An
    outlier's wide ball counts for 1/k at most.

    Args:
        real_NF: Features of real examples.
        generated_MF: Features of generated examples.
        k: Number of neighbours.
        block_mib: Memory of a block of distances, in MiB.

    Raises:
        DataError: If there are k real examples or fewer, features differ in number, or are not finite.

    References:
        Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models (2020), eq. 3 and 4.
        https://arxiv.org/abs/2002.09797
    """
    real, generated = _checked("density_coverage", real_NF, generated_MF, k + 1)
    radius_N = _square_radii(real, k, block_mib)
    num_inside = num_covered = 0
    for rows, square in _square_distances(real, generated, block_mib):
        inside = square <= radius_N[rows, None]
        num_inside += int(inside.sum())
        num_covered += int(inside.any(1).sum())
    return DensityCoverage(num_inside / (k * len(generated)), num_covered / len(real))


@dataclass(frozen=True)
class Generation:
    """Scores of generated examples; comparable only with scores of the same features and equal numbers of examples."""

    features: str
    """Name of the features: that of a FeatureNet, `pixels`, or `columns`."""
    num_real: int
    num_generated: int
    frechet_distance: float
    precision: float
    """Improved precision with k = 3, in [0, 1]."""
    recall: float
    """Improved recall with k = 3, in [0, 1]."""
    density: float
    """Density with k = 5; 1 is expected."""
    coverage: float
    """Coverage with k = 5, in [0, 1]."""

    def named(self) -> dict[str, float]:
        """Returns the scores by names that end in the name of the features, such as `recall.cnn-64-a1b2c3`."""
        scores = ("frechet_distance", "precision", "recall", "density", "coverage")
        return {f"{score}.{self.features}": getattr(self, score) for score in scores}


def generation_suite(
    real_NF: Array,
    generated_MF: Array,
    *,
    features: str,
    min_samples: int = MIN_SAMPLES,
    block_mib: float = BLOCK_MIB,
) -> Generation:
    """Returns all scores of one set of generated examples.

    Args:
        real_NF: Features of held-out real examples.
        generated_MF: Features of as many generated examples, as in the papers.
        features: Name of the features.
        min_samples: Minimum size of a set.
        block_mib: Memory of a block of distances, in MiB.

    Raises:
        DataError: If a set is too small, features differ in number, or are not finite.
    """
    distance = frechet_distance(real_NF, generated_MF, min_samples=min_samples)
    manifold = precision_recall(real_NF, generated_MF, block_mib=block_mib)
    balls = density_coverage(real_NF, generated_MF, block_mib=block_mib)
    return Generation(
        features=features,
        num_real=len(real_NF),
        num_generated=len(generated_MF),
        frechet_distance=distance,
        precision=manifold.precision,
        recall=manifold.recall,
        density=balls.density,
        coverage=balls.coverage,
    )


def _checked(metric: str, a_NF: Array, b_MF: Array, min_samples: int) -> tuple[Array, Array]:
    """Returns both sets as float64 around the mean of the first: distances stay, and their rounding shrinks."""
    a, b = np.asarray(a_NF, np.float64), np.asarray(b_MF, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise DataError(f"{metric}: expected two arrays [examples, features], got {a.shape} and {b.shape}")
    if min(len(a), len(b)) < min_samples:
        raise DataError(
            f"{metric}: expected {min_samples} examples or more on either side, got {len(a)} and {len(b)}; pass more, or "
            "ask for less and do not compare the score with others"
        )
    broken = a.size + b.size - np.count_nonzero(np.isfinite(a)) - np.count_nonzero(np.isfinite(b))
    if broken:
        raise DataError(f"{metric}: {broken} of {a.size + b.size} features are not finite; look at the examples first")
    centre = a.mean(0)
    return a - centre, b - centre


def _covariance_root(x_NF: Array) -> Array:
    """Returns R, [min(N,F),F], whose RᵀR is the covariance."""
    return np.asarray(np.linalg.qr((x_NF - x_NF.mean(0)) / np.sqrt(len(x_NF) - 1), mode="r"))


def _square_distances(a_NF: Array, b_MF: Array, block_mib: float) -> Iterator[tuple[slice, Array]]:
    """Yields squared Euclidean distances in blocks of the first set's rows, each with its rows."""
    rows = max(1, int(block_mib * 2**20 / (8 * len(b_MF))))
    square_a_N, square_b_M = np.square(a_NF).sum(1), np.square(b_MF).sum(1)
    for start in range(0, len(a_NF), rows):
        block = slice(start, start + rows)
        square = a_NF[block] @ (-2 * b_MF.T)
        square += square_a_N[block, None]
        square += square_b_M
        yield block, square


def _square_radii(x_NF: Array, k: int, block_mib: float) -> Array:
    """Returns the squared distance of each example to its k-th nearest other example, [N], enlarged by its rounding.

    Features of categories have many equal distances; otherwise rounding would decide which of them lie inside.
    """
    radii = []
    for _, square in _square_distances(x_NF, x_NF, block_mib):
        square.partition(k, axis=1)  # the nearest is the example itself
        radii.append(square[:, k].copy())
    square_radius_N = np.maximum(np.concatenate(radii), 0)
    return square_radius_N + ROUNDING * (square_radius_N + np.square(x_NF).sum(1))
