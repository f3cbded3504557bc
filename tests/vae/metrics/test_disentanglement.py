"""Disentanglement: a perfect code scores 1, noise 0 or chance, and each score falls for what it is meant to see."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import mutual_info_score

from vae.errors import DataError
from vae.metrics.disentanglement import (
    Accuracy,
    Disentanglement,
    beta_vae_score,
    dci,
    disentanglement_suite,
    factor_vae_score,
    mig,
    modularity,
    sap,
    udr,
)
from vae.metrics.disentanglement.interventions import Groups

Codes = NDArray[np.float64]
NUM_VALUES = (3, 5, 8)
SIZES = {"num_train": 2000, "num_test": 1000}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def factors(rows: int = 3000, num_values: tuple[int, ...] = NUM_VALUES) -> NDArray[np.int64]:
    return np.stack([rng(7).integers(k, size=(len(num_values), rows))[i] for i, k in enumerate(num_values)], 1)


def noise(rows: int = 3000, dimensions: int = 3, seed: int = 11) -> Codes:
    return rng(seed).normal(size=(rows, dimensions))


def perfect(spare: int = 0) -> Codes:
    """Each factor in a dimension of its own, and dimensions that say nothing."""
    return np.concatenate([factors() - factors().mean(0), 0.3 * noise(dimensions=spare)], 1)


def rotated(codes: Codes, first: int, second: int) -> Codes:
    """Two dimensions, each with variance 1, turned by 45°."""
    a, b = (codes[:, i] / codes[:, i].std() for i in (first, second))
    turned = codes.copy()
    turned[:, first], turned[:, second] = (a + b) / np.sqrt(2), (a - b) / np.sqrt(2)
    return turned


def suite(codes: Codes, seed: int = 0) -> Disentanglement:
    return disentanglement_suite(codes, factors(), rng(seed), **SIZES)


# --- laws of all scores ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spare", [0, 4], ids=["as many dimensions as factors", "dimensions to spare"])
def test_suite_scores_a_perfect_code_one(spare: int) -> None:
    """Each factor in a dimension of its own is a perfect code by every score, whatever else is there."""
    scores = suite(perfect(spare))
    assert (scores.num_train, scores.num_test) == (2000, 1000)
    assert astuple(scores)[:-2] == pytest.approx([1.0] * 8, abs=0.03)


@pytest.mark.parametrize(
    ("codes", "factor_vae"), [(noise(dimensions=6), 1 / 3), (np.full((3000, 6), 0.1), 0.0)], ids=["noise", "constant"]
)
def test_suite_scores_noise_zero_or_chance(codes: Codes, factor_vae: float) -> None:
    """A code that tells nothing scores 0, and classifiers are as good as guessing; a collapsed one has no votes."""
    scores = suite(codes)
    commonest = np.mean([np.bincount(values).max() / len(values) for values in factors().T])
    assert scores.beta_vae == pytest.approx(1 / 3, abs=0.06)
    assert scores.factor_vae == pytest.approx(factor_vae, abs=0.06)
    assert scores.dci_informativeness == pytest.approx(commonest, abs=0.04)
    gaps = (scores.mig, scores.sap, scores.modularity, scores.dci_disentanglement, scores.dci_completeness)
    assert gaps == pytest.approx([0.0] * 5, abs=0.03)


def test_suite_ignores_order_sign_and_scale_of_dimensions() -> None:
    """No score changes when dimensions are permuted, negated, shifted and stretched."""
    codes = rotated(perfect(spare=1), 0, 1) + 0.1 * noise(dimensions=4, seed=3)
    changed = codes[:, [2, 0, 3, 1]] * np.array([-1.0, 2.0, 4.0, -8.0]) + np.array([0.0, 100.0, 0.0, -1.0])
    scores, others = suite(codes), suite(changed)
    assert 0.2 < scores.mig < 0.8
    assert astuple(others) == pytest.approx(astuple(scores), abs=0.03)


def test_suite_repeats_for_a_seed_and_differs_for_another() -> None:
    """Every draw comes from the generator."""
    codes = perfect() + noise()
    assert suite(codes, seed=1) == suite(codes, seed=1)
    assert suite(codes, seed=1) != suite(codes, seed=2)


def test_suite_divides_a_small_dataset_in_proportion() -> None:
    """300 rows, by the sizes of the papers, are 200 to train on and 100 to evaluate on, and still tell codes apart."""
    few = slice(300)
    good, bad = (disentanglement_suite(codes[few], factors()[few], rng()) for codes in (perfect(), noise()))
    assert (good.num_train, good.num_test) == (200, 100)
    assert all(g > b + 0.4 for g, b in zip(astuple(good)[:-2], astuple(bad)[:-2], strict=True))


def test_suite_names_its_scores() -> None:
    """A code of half of one factor and all of another: each field has the value that its score's definition gives."""
    half, whole = np.indices((4, 3, 250)).reshape(3, -1)[:2]
    codes = np.stack([half // 2, whole, np.zeros_like(half)], 1)
    scores = disentanglement_suite(codes, np.stack([half, whole], 1), rng(), **SIZES)
    assert scores.mig == pytest.approx((1 / 2 + 1) / 2, abs=0.01)
    assert scores.sap == pytest.approx((1 / 3 + 1) / 2, abs=0.02)
    assert scores.dci_informativeness == pytest.approx((1 / 2 + 1) / 2, abs=0.04)
    perfect_scores = (scores.beta_vae, scores.modularity, scores.dci_disentanglement, scores.dci_completeness)
    assert perfect_scores == pytest.approx([1.0] * 4, abs=0.03)


def test_rotation_lowers_what_it_should() -> None:
    """Two factors mixed by 45° have no dimension of their own: gaps and importances fall, and the third stays told."""
    straight, turned = suite(perfect()), suite(rotated(perfect(), 1, 2))
    assert turned.mig < straight.mig - 0.4
    assert turned.sap < straight.sap - 0.4
    assert turned.dci_disentanglement < straight.dci_disentanglement - 0.3
    assert turned.modularity < straight.modularity - 0.1
    assert turned.dci_informativeness > 0.8


def test_duplicate_dimension_lowers_gaps_but_not_modularity() -> None:
    """A factor told twice is not told compactly, yet each dimension tells of one factor alone."""
    twice = suite(np.concatenate([perfect(), perfect()[:, :1]], 1))
    assert twice.mig == pytest.approx(2 / 3, abs=0.02)
    assert twice.sap == pytest.approx(2 / 3, abs=0.02)
    assert twice.dci_completeness < 0.9
    assert twice.modularity == pytest.approx(1.0, abs=0.01)
    assert twice.dci_disentanglement == pytest.approx(1.0, abs=0.01)


# --- laws of one score ----------------------------------------------------------------------------------------------


def test_groups_draw_rows_that_share_a_value() -> None:
    """Pairs are two rows, batches are any, of one value and of the rows given; a row alone with its value is left out."""
    columns, rows = factors(40, (2, 5)), np.arange(5, 40)
    columns[6, 1] = 100
    groups = Groups.of(columns, 1, rows)
    first, second = groups.pairs((200, 8), rng())
    batches = groups.batches((200, 8), rng())
    assert (first != second).all()
    assert (columns[first, 1] == columns[second, 1]).all()
    assert (columns[batches, 1] == columns[batches[:, :1], 1]).all()
    for drawn in (first, second, batches):
        assert set(drawn.ravel()) == set(rows) - {6}


@pytest.mark.parametrize("score", [beta_vae_score, factor_vae_score])
def test_fixed_factor_scores_are_of_rows_not_trained_on(score: Any) -> None:
    """On few rows of noise a classifier learns the rows by heart, and is no better than chance on others."""
    scores: list[Accuracy] = [
        score(noise(60, 6, seed), factors(60), rng(seed), num_train=600, num_test=300) for seed in range(10)
    ]
    assert np.mean([each.train for each in scores]) > 0.5
    assert np.mean([each.evaluation for each in scores]) == pytest.approx(1 / 3, abs=0.08)


def test_factor_vae_prunes_collapsed_dimensions() -> None:
    """A factor in a dimension with variance below 0.05 is not found, and just above it is."""
    codes = perfect() / perfect().std(0)
    scale = np.array([1.0, 1.0, np.sqrt(0.05)])
    above, below = (factor_vae_score(codes * scale * by, factors(), rng(), **SIZES) for by in (1.01, 0.99))
    assert above.evaluation == 1.0
    assert below.evaluation == pytest.approx(2 / 3, abs=0.05)
    assert below.train == pytest.approx(2 / 3, abs=0.05)


def test_factor_vae_misses_a_factor_that_beta_vae_excludes() -> None:
    """With one factor of three missing, a linear classifier still answers by exclusion (Kim & Mnih 2018, section 4)."""
    codes = np.concatenate([perfect()[:, :2], noise(dimensions=1)], 1)
    assert beta_vae_score(codes, factors(), rng(), **SIZES).evaluation > 0.99
    assert factor_vae_score(codes, factors(), rng(), **SIZES).evaluation == pytest.approx(7 / 9, abs=0.05)


def test_mig_is_the_gap_of_binned_information() -> None:
    """Against scikit-learn's mutual information of NumPy's histogram bins."""
    codes = rotated(perfect(), 0, 2) + 0.3 * noise()
    edges = [np.histogram_bin_edges(z, 20)[1:-1] for z in codes.T]
    binned = np.stack([np.digitize(z, edge) for z, edge in zip(codes.T, edges, strict=True)], 1)
    gaps = []
    for values in factors().T:
        second, best = sorted(mutual_info_score(values, z) for z in binned.T)[-2:]
        gaps.append((best - second) / mutual_info_score(values, values))
    assert mig(codes, factors()) == pytest.approx(np.mean(gaps), abs=1e-9)


def test_mig_and_sap_of_half_a_factor() -> None:
    """Telling which pair of 4 values it is: log 2 of log 4, and a balanced accuracy of 1/2, where chance is 1/4."""
    values = np.tile(np.arange(4), 300)[:, None]
    codes = np.concatenate([values // 2, np.ones_like(values)], 1)
    assert mig(codes, values) == pytest.approx(0.5)
    assert sap(codes, values, rng()) == pytest.approx(1 / 3, abs=0.01)


def test_sap_weighs_classes_alike() -> None:
    """Guessing the commonest class, with 95 % of the rows, is chance."""
    rare = (rng().random((2000, 1)) < 0.05).astype(np.int64)
    assert sap(noise(2000), rare, rng()) < 0.1
    assert sap(np.concatenate([rare, noise(2000)], 1), rare, rng()) > 0.85


def test_modularity_of_a_dimension_for_two_factors_of_three() -> None:
    """As much on a second factor as on the first, nothing on the third: 1 − 1/2. With a perfect one beside it: the mean."""
    a, b, c = np.indices((2, 2, 4, 50)).reshape(4, -1)[:3]
    labels = np.stack([a, b, c], 1)
    assert modularity(np.stack([2 * a + b, np.zeros_like(a)], 1), labels) == pytest.approx(0.5)
    assert modularity(np.stack([2 * a + b, c], 1), labels) == pytest.approx(0.75)


def test_dci_of_importances_is_the_entropy_of_the_paper() -> None:
    """Two dimensions that are one factor's halves: complete by 1 − log 2 / log 3, and as disentangled as can be."""
    values = np.stack([rng(1).integers(2, size=4000), rng(2).integers(2, size=4000)], 1)
    codes = np.stack([values[:, 0], values[:, 0], values[:, 1]], 1)
    scores = dci(codes, values, rng())
    assert scores.disentanglement == pytest.approx(1.0)
    assert scores.informativeness == 1.0
    lowest = 1 - np.log(2) / np.log(3)  # where trees use both copies alike
    assert (lowest + 1) / 2 <= scores.completeness < 0.8


# --- choosing without factors ---------------------------------------------------------------------------------------


def models(turned: bool) -> list[Codes]:
    """Five seeds of one model: permuted and negated, or each rotated at random as well."""
    found = []
    for seed in range(5):
        draw = rng(seed)
        basis = np.linalg.qr(draw.normal(size=(4, 4)))[0] if turned else np.eye(4)[draw.permutation(4)]
        found.append(noise(1000, 4) @ (basis * draw.choice([-1.0, 1.0], 4)) + 0.05 * draw.normal(size=(1000, 4)))
    return found


ALL_INFORMATIVE = [np.ones(4)] * 5


def test_udr_is_higher_for_seeds_that_agree() -> None:
    """Seeds that found the same dimensions, up to order and sign, rank above seeds that found rotations of them."""
    same, other = udr(models(False), ALL_INFORMATIVE), udr(models(True), ALL_INFORMATIVE)
    assert same.shape == (5,)
    assert same.min() > 0.85
    assert other.max() < 0.6
    assert udr([noise(1000, 4, seed) for seed in range(5)], ALL_INFORMATIVE).max() < 0.1


def test_udr_takes_the_median_over_the_others() -> None:
    """One model that went wrong does not lower the others, and is the last."""
    odd = [*models(False)[:4], models(True)[4]]
    scores = udr(odd, ALL_INFORMATIVE)
    assert scores.argmin() == 4
    assert scores[:4].min() > 0.85


def test_udr_of_two_models_is_the_papers_equation() -> None:
    """Against SciPy's Spearman correlation and the equation written out, over informative dimensions alone."""
    first = noise(500, 3)
    second = np.exp(first @ rng(2).normal(size=(3, 4)))
    kl = [np.array([1.0, 0.005, 0.02]), np.array([0.5, 1.0, 3.0, 0.0])]
    matrix = np.array([[abs(spearmanr(first[:, i], second[:, j]).statistic) for j in range(3)] for i in (0, 2)])
    rows = sum(max(row) ** 2 / sum(row) for row in matrix)
    columns = sum(max(column) ** 2 / sum(column) for column in matrix.T)
    assert udr([first, second], kl) == pytest.approx([(rows + columns) / 5] * 2)


def test_udr_leaves_out_dimensions_without_information() -> None:
    """What a collapsed dimension says does not count; a model of those alone agrees with none."""
    codes = models(False)
    spare = [np.concatenate([each, noise(1000, 2, seed)], 1) for seed, each in enumerate(codes)]
    kl = [np.array([1.0, 1.0, 1.0, 1.0, 0.009, 0.0])] * 5
    assert udr(spare, kl) == pytest.approx(udr(codes, ALL_INFORMATIVE))
    assert udr(spare, [*kl[:4], np.zeros(6)])[4] == 0.0
    assert udr([np.ones((50, 2)), noise(50, 2)], [np.ones(2)] * 2) == pytest.approx([0.0, 0.0])


# --- refusals -------------------------------------------------------------------------------------------------------


def with_entry(value: float) -> Codes:
    codes = noise(40)
    codes[3, 1] = value
    return codes


@pytest.mark.parametrize(
    ("codes", "columns", "message"),
    [
        (with_entry(np.nan), factors(40), r"1 of 120 entries are NaN or infinite, the first in row 3, dimension 1"),
        (with_entry(-np.inf), factors(40), r"1 of 120 entries are NaN or infinite"),
        (noise(40)[:, 0], factors(40), r"codes: expected numbers \[rows, dimensions\], found shape \(40,\)"),
        (noise(40)[:, :1], factors(40), r"at least 2 dimensions and 2 factors are needed to compare, found 1 and 3"),
        (noise(40), factors(40)[:, :1], r"at least 2 dimensions and 2 factors are needed to compare, found 3 and 1"),
        (noise(40), factors(39), r"expected integers \[40 rows, factors\], found int64 of shape \(39, 3\)"),
        (noise(40), factors(40).astype(float), r"found float64 of shape \(40, 3\).*cut numbers into bins"),
        (noise(40), factors(40, (2, 1, 3)), r"column 1 has one value in all 40 rows.*leave the column out"),
        (noise(40), np.indices((40, 2))[0], r"column 0 has 40 values in 40 rows, fewer than 2 rows each"),
    ],
)
def test_suite_refuses_what_cannot_be_scored(codes: Codes, columns: NDArray, message: str) -> None:
    """The message says what is wrong, where and what to do."""
    with pytest.raises(DataError, match=message):
        disentanglement_suite(codes, columns, rng())


def test_fixed_factor_scores_refuse_rows_that_share_no_value() -> None:
    """4 rows leave 1 to evaluate on, which has no partner."""
    with pytest.raises(DataError, match=r"column 0: no value occurs twice in 1 rows.*pass more rows"):
        factor_vae_score(noise(4), np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), rng())


@pytest.mark.parametrize(
    ("codes", "kl", "message"),
    [
        ([noise(9)], [np.ones(3)], r"at least 2 models and as many KLs, found 1 and 1"),
        ([noise(9)] * 2, [np.ones(3)], r"at least 2 models and as many KLs, found 2 and 1"),
        ([noise(9)] * 2, [np.ones(3), np.ones(2)], r"model 1: kl_nats: .* each of 3 dimensions, found shape \(2,\)"),
        ([noise(9)] * 2, [np.ones(3), np.full(3, np.nan)], r"model 1: kl_nats: .* and 3 that are NaN or infinite"),
        ([noise(9), noise(8)], [np.ones(3)] * 2, r"expected the same rows of every model, found \[9, 8\]"),
        ([noise(40), with_entry(np.nan)], [np.ones(3)] * 2, r"model 1: codes: 1 of 120 entries are NaN"),
    ],
)
def test_udr_refuses_models_that_cannot_be_compared(codes: list[Codes], kl: list[Codes], message: str) -> None:
    """The message says which model, and what is wrong with it."""
    with pytest.raises(DataError, match=message):
        udr(codes, kl)


def test_import_leaves_scikit_learn_out() -> None:
    """scikit-learn takes a second to import, so it is imported by the scores that need it."""
    probe = "import sys, vae.metrics.disentanglement as d; sys.exit('sklearn' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
