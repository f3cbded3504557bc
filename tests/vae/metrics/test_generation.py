"""Generation metrics against closed forms and plain loops, and the net whose features they are computed in."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.stats import ortho_group
from sklearn.datasets import load_digits
from torch import Tensor

from vae.errors import DataError
from vae.metrics.features import FeatureNet, train_feature_net
from vae.metrics.generation import Generation, density_coverage, frechet_distance, generation_suite, precision_recall

Array = NDArray[np.float64]


def normal(rows: int, features: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, features))


def with_moments(mean_F: Array, covariance_FF: Array, rows: int, seed: int) -> Array:
    """Draws whose sample mean and covariance are exactly these."""
    x = normal(rows, len(mean_F), seed)
    x -= x.mean(0)
    whitened = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), x.T).T
    return mean_F + whitened @ np.linalg.cholesky(covariance_FF).T


def covariance(seed: int) -> Array:
    factor = normal(4, 4, seed)
    return factor @ factor.T + 0.1 * np.eye(4)


# --- Fréchet distance -----------------------------------------------------------------------------------------------


def test_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    """It is |Δμ|² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) with SciPy's matrix root, for covariances that do not commute."""
    mean_a, mean_b, cov_a, cov_b = normal(1, 4, 0)[0], normal(1, 4, 1)[0], covariance(2), covariance(3)
    root = sqrtm(cov_a @ cov_b)
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root).real
    a, b = with_moments(mean_a, cov_a, 2048, 4), with_moments(mean_b, cov_b, 3000, 5)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_of_a_set_from_itself_is_zero() -> None:
    """Also where features repeat or never change, so that the covariance is singular, and far from the origin."""
    x = normal(2048, 5, 0)
    singular = np.hstack([x, x[:, :2], np.zeros((2048, 3))]) + 1000
    for features in (x, singular):
        assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_is_invariant_to_rotation_and_reflection() -> None:
    """An orthogonal map of both sets changes nothing; of one set it does."""
    a, b = normal(2048, 4, 0) * [1, 2, 3, 4], normal(2048, 4, 1) + 0.5
    rotation = ortho_group.rvs(4, random_state=np.random.default_rng(2))
    distance = frechet_distance(a, b)
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(distance, rel=1e-10)
    assert frechet_distance(a @ rotation, a) > 0.1


def test_frechet_distance_refuses_small_samples() -> None:
    """Below 2048 it is mostly bias, so a smaller set has to be asked for."""
    x = normal(2047, 3, 0)
    with pytest.raises(DataError, match="2048 examples or more on either side, got 2048 and 2047"):
        frechet_distance(normal(2048, 3, 1), x)
    assert frechet_distance(x, x, min_samples=2047) == pytest.approx(0, abs=1e-9)


# --- precision, recall, density, coverage ---------------------------------------------------------------------------


def scores(real: Array, generated: Array, k: int = 3) -> tuple[float, float, float, float]:
    manifold, balls = precision_recall(real, generated, k=k), density_coverage(real, generated, k=k)
    return manifold.precision, manifold.recall, balls.density, balls.coverage


def scores_by_loops(real: Array, generated: Array, k: int) -> tuple[float, float, float, float]:
    def radius(points: Array, i: int) -> float:
        return sorted(math.dist(points[i], other) for j, other in enumerate(points) if j != i)[k - 1]

    def inside(points: Array, balls: Array) -> Array:
        radii = [radius(balls, i) for i in range(len(balls))]
        return np.array([[math.dist(p, b) <= r for b, r in zip(balls, radii, strict=True)] for p in points])

    generated_in_real, real_in_generated = inside(generated, real), inside(real, generated)
    return (
        generated_in_real.any(1).mean(),
        real_in_generated.any(1).mean(),
        generated_in_real.sum(1).mean() / k,
        generated_in_real.any(0).mean(),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_manifold_scores_equal_plain_loops(k: int) -> None:
    """All four equal a loop over points, with sets of different sizes and features far from the origin."""
    real, generated = 1e6 + normal(30, 3, 0), 1e6 + 0.7 + normal(40, 3, 1)
    assert scores(real, generated, k) == pytest.approx(scores_by_loops(real, generated, k))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_manifold_scores_count_ties_as_inside(k: int) -> None:
    """Features of small integers have duplicates and equal distances everywhere; rounding decides none of them."""
    real, generated = np.rint(normal(60, 4, 0)), np.rint(normal(50, 4, 1))
    assert scores(real, generated, k) == pytest.approx(scores_by_loops(real, generated, k))


def test_manifold_scores_of_equal_sets_are_one() -> None:
    """A set that is the data itself, in any order, has precision, recall and coverage 1."""
    x = normal(300, 4, 0)
    precision, recall, _, coverage = scores(x, x[::-1])
    assert (precision, recall, coverage) == (1, 1, 1)


def test_manifold_scores_of_copies_do_not_hang_on_rounding() -> None:
    """With five copies of each example balls of k = 3 have no width, and each holds the five copies and nothing else."""
    x = np.repeat(100 + normal(101, 37, 0), 5, axis=0)
    some = x[np.random.default_rng(1).permutation(len(x))][:-3]
    assert scores(x, some) == pytest.approx((1, 1, 5 / 3, 1), rel=1e-12)


def test_manifold_scores_of_disjoint_sets_are_zero() -> None:
    """Sets that are far apart share nothing."""
    assert scores(normal(200, 4, 0), normal(200, 4, 1) + 100) == (0, 0, 0, 0)


def test_density_and_coverage_of_equal_distributions_are_as_expected() -> None:
    """At N = M density is near 1 and coverage near 1 − 2⁻ᵏ, whatever the distribution (Naeem et al. 2020, lemma 2)."""
    real, generated = np.exp(normal(1500, 8, 0)), np.exp(normal(1500, 8, 1))
    found = density_coverage(real, generated)
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=4 * math.sqrt(2**-5 / 1500))


def test_dropping_a_mode_lowers_diversity_and_not_fidelity() -> None:
    """A generator of one of two modes loses half of recall and coverage, and no precision or density."""
    modes = [normal(600, 4, 0), normal(600, 4, 1) + 50]
    real = np.vstack(modes)
    both = scores(real, np.vstack([normal(600, 4, 2), normal(600, 4, 3) + 50]))
    one = scores(real, normal(1200, 4, 4))
    assert one[0] == pytest.approx(both[0], abs=0.05)
    assert one[2] == pytest.approx(both[2], abs=0.1)
    assert one[1] < 0.55 * both[1] + 0.05
    assert one[3] < 0.55


def test_outlier_inflates_precision_and_not_density() -> None:
    """One real outlier, whose ball is wide, makes examples far from all others precise; their density stays 1/k."""
    k, cluster = 5, normal(300, 2, 0)
    generated = np.array([10.0, 0.0]) + normal(100, 2, 1)
    with_outlier = np.vstack([cluster, [[20.0, 0.0]]])
    assert scores(cluster, generated, k)[0] == 0
    assert scores(with_outlier, generated, k)[0] == 1
    assert density_coverage(with_outlier, generated, k=k).density == pytest.approx(1 / k)


@pytest.mark.parametrize("rows", [1, 7, 150])
def test_blocks_change_nothing(rows: int) -> None:
    """Blocks of one row, of some and of all give the same scores."""
    real, generated = normal(150, 6, 0), 0.8 * normal(130, 6, 1)
    block_mib = rows * 8 * 150 / 2**20
    assert precision_recall(real, generated, block_mib=block_mib) == precision_recall(real, generated)
    assert density_coverage(real, generated, block_mib=block_mib) == density_coverage(real, generated)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (normal(9, 3, 0), normal(9, 4, 0), r"two arrays \[examples, features\], got \(9, 3\) and \(9, 4\)"),
        (normal(9, 3, 0), normal(2, 3, 0), "or more on either side, got 9 and 2"),
        (normal(9, 3, 0), np.full((9, 3), np.nan), "27 of 54 features are not finite"),
    ],
    ids=["features", "few", "nan"],
)
@pytest.mark.parametrize(
    "metric", [lambda a, b: frechet_distance(a, b, min_samples=9), precision_recall, density_coverage]
)
def test_metrics_refuse_what_they_cannot_compare(
    metric: Callable[[Array, Array], object], real: Array, generated: Array, message: str
) -> None:
    """Different features, too few examples and values that are no numbers are refused with what was found."""
    with pytest.raises(DataError, match=message):
        metric(real, generated)


# --- features -------------------------------------------------------------------------------------------------------


def digits() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels)


@pytest.fixture(scope="module")
def net() -> FeatureNet:
    """Trained on scanned digits."""
    return train_feature_net(*digits(), seed=0, steps=300)


def test_feature_net_learns_digits(net: FeatureNet) -> None:
    """It finds more than nine tenths of held-out digits, and has that on record."""
    assert 0.9 < net.held_out_accuracy.item() <= 1


def test_feature_net_scores_the_images_it_did_not_see() -> None:
    """With labels that say nothing it learns its own images by heart, and held-out ones stay at chance."""
    x, labels = digits()[0][:100], torch.randint(2, (100,), generator=torch.Generator().manual_seed(0))
    net = train_feature_net(x, labels, seed=0, steps=200, learning_rate=1e-2, held_out_share=0.5)
    held_out = net.held_out_accuracy.item()
    assert held_out == pytest.approx(0.5, abs=0.2)
    assert net.accuracy(x, labels) == pytest.approx((1 + held_out) / 2)


def test_feature_net_is_named_by_its_weights() -> None:
    """The same seed gives the same name, another seed or another step another; the global generator has no part in it."""
    x, labels = digits()
    state = torch.get_rng_state()
    names = [train_feature_net(x, labels, seed=seed, steps=steps).name for seed, steps in ((0, 5), (1, 5), (0, 6))]
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(names)) == 3
    assert names[0].startswith("cnn-64-")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        assert train_feature_net(x, labels, seed=0, steps=5).name == names[0]


def test_features_are_what_the_last_layer_sees(net: FeatureNet) -> None:
    """[N,F] in float64, from which the last layer makes the logits; an image's do not depend on the others."""
    x, _ = digits()
    features = net.features(x)
    assert features.shape == (len(x), 64)
    assert features.dtype == np.float64
    assert torch.allclose(net.head(torch.tensor(features).float()), net(x), atol=1e-4)
    assert np.allclose(net.features(x[1000:1003]), features[1000:1003], atol=1e-5)


def test_features_of_bytes_are_those_of_their_unit_values(net: FeatureNet) -> None:
    """uint8 pixels are divided by 255, float ones are not."""
    pixels = (digits()[0][:20] * 255).round().byte()
    assert np.array_equal(net.features(pixels), net.features(pixels.float() / 255))


def test_feature_net_comes_back_from_its_state(net: FeatureNet) -> None:
    """A state dict carries the name, the features and the accuracy to a net of any seed."""
    twin = FeatureNet(net.shape, net.num_classes, seed=9)
    assert math.isnan(twin.held_out_accuracy.item())
    assert twin.name != net.name
    twin.load_state_dict(net.state_dict())
    assert (twin.name, twin.held_out_accuracy) == (net.name, net.held_out_accuracy)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (1, 28, 28), (2, 33, 9)])
def test_feature_net_takes_images_of_any_size(shape: tuple[int, int, int]) -> None:
    """Any channels, height and width give as many features as asked for."""
    assert FeatureNet(shape, 3, seed=0, width=5).features(torch.zeros(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.zeros(4, 1, 8, 8), None, "this dataset has none; pass a categorical attribute"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4), "2 classes or more, got 0 to 0"),
        (torch.zeros(4, 1, 8, 8), torch.tensor([-1, 0, 1, 1]), "got -1 to 1; leave out"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(3), r"got \[4, 1, 8, 8\] and 3 labels"),
        (torch.full((4, 1, 8, 8), 255.0), torch.arange(4), r"pixels are not in \[0, 1\]"),
    ],
    ids=["unlabelled", "one class", "no class", "lengths", "range"],
)
def test_feature_net_refuses_what_it_cannot_learn_from(x: Tensor, labels: Tensor | None, message: str) -> None:
    """No labels, one class, classes below 0 or pixels beyond 1 are refused with what to do."""
    with pytest.raises(DataError, match=message):
        train_feature_net(x, labels, seed=0, steps=1)


def test_features_refuse_images_of_another_shape(net: FeatureNet) -> None:
    """Features of other images than the net was trained on mean nothing."""
    with pytest.raises(DataError, match=r"expected images \[1, 8, 8\].*got \[1, 9, 9\]"):
        net.features(torch.zeros(2, 1, 9, 9))


# --- the suite ------------------------------------------------------------------------------------------------------


def test_suite_tells_real_digits_from_noise(net: FeatureNet) -> None:
    """Other digits score better than noisy ones in all but recall, which scatter flatters; names say in which features."""
    x, _ = digits()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    real, other = x[order[:800]], x[order[800:1600]]
    noise = torch.randn(other.shape, generator=torch.Generator().manual_seed(1))
    good, bad = (
        generation_suite(net.features(real), net.features(made), features=net.name, min_samples=800)
        for made in (other, (other + 0.4 * noise).clamp(0, 1))
    )
    assert good.frechet_distance < 0.2 * bad.frechet_distance
    assert good.precision > bad.precision + 0.1
    assert good.density > bad.density + 0.1
    assert good.coverage > bad.coverage + 0.1
    assert good.named()[f"recall.{net.name}"] == good.recall
    assert (good.num_real, good.num_generated, len(good.named())) == (800, 800, 5)


def test_suite_is_its_parts() -> None:
    """It holds what the functions give at their papers' k."""
    real, generated = normal(60, 3, 0), normal(50, 3, 1)
    manifold, balls = precision_recall(real, generated, k=3), density_coverage(real, generated, k=5)
    distance = frechet_distance(real, generated, min_samples=50)
    assert generation_suite(real, generated, features="columns", min_samples=50) == Generation(
        "columns", 60, 50, distance, manifold.precision, manifold.recall, balls.density, balls.coverage
    )
