"""Scores from the mutual information of a dimension and a factor, counted in bins. Shapes as in the package."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae.metrics.disentanglement.codes import entropy_nats, labelled_codes

NUM_BINS = 20
DEPENDENCE_LEVEL = 1e-6
"""Significance level: a dimension depends on a factor if independence would give such counts less often."""


def mig(codes_NL: ArrayLike, factors_NF: ArrayLike, num_bins: int = NUM_BINS) -> float:
    """Returns the mutual information gap: how much more one dimension tells about a factor than any other, in [0, 1].

    Protocol: each dimension is cut into 20 bins of equal width between its least and its greatest value. The
    information in nats is that of the counts, without a correction for their bias. The gap between the best and the
    second-best dimension is divided by the factor's entropy; mean over factors. A constant dimension tells nothing. The
    maximum for a factor of more than 20 values is log 20 / log K. One factor is enough.

    Raises:
        DataError: If codes or factors cannot be scored; states what is wrong, and where.

    References:
        Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders (2018), eq. 6.
        https://arxiv.org/abs/1802.04942
    """
    codes, factors = labelled_codes(codes_NL, factors_NF, least_factors=1)
    information_LF, _ = _dependence(codes, factors, num_bins)
    second_F, best_F = np.sort(information_LF, axis=0)[-2:]
    entropy_F = np.array([entropy_nats(np.bincount(values)) for values in factors.T])
    return float(((best_F - second_F) / entropy_F).mean())


def modularity(codes_NL: ArrayLike, factors_NF: ArrayLike, num_bins: int = NUM_BINS) -> float:
    """Returns modularity: whether each dimension tells about one factor alone, in [0, 1].

    Protocol: the information of `mig`. A dimension's score is 1 − Σ I² / (I_max² (F − 1)), the sum over all factors but
    the one with the maximum. The score is the mean over the dimensions that depend on a factor: those for which
    Pearson's χ² test of independence gives less than 1e-6 for some factor, after multiplication by the number of tests,
    F. Otherwise the chance dependence of a collapsed dimension would count. 0 if no dimension depends on a factor.

    Raises:
        DataError: If codes or factors cannot be scored; states what is wrong, and where.

    References:
        Ridgeway & Mozer, Learning Deep Disentangled Embeddings with the F-Statistic Loss (2018).
        https://arxiv.org/abs/1802.05312
    """
    codes, factors = labelled_codes(codes_NL, factors_NF)
    num_factors = factors.shape[1]
    information_LF, probability_LF = _dependence(codes, factors, num_bins)
    telling_L = (probability_LF * num_factors < DEPENDENCE_LEVEL).any(1)
    if not telling_L.any():
        return 0.0
    squared_LF = np.square(information_LF[telling_L])
    best_L = squared_LF.max(1)
    return float((1 - (squared_LF.sum(1) - best_L) / (best_L * (num_factors - 1))).mean())


def _dependence(codes_NL: NDArray, factors_NF: NDArray, num_bins: int) -> tuple[NDArray, NDArray]:
    """Returns the information in nats and the p-value of Pearson's χ² test for each dimension and factor, [L,F] each."""
    from scipy.special import chdtrc

    low_L, high_L = codes_NL.min(0), codes_NL.max(0)
    width_L = np.where(high_L > low_L, high_L - low_L, 1.0)
    bins_NL = np.minimum((codes_NL - low_L) / width_L * num_bins, num_bins - 1).astype(np.int64)
    information_LF = np.zeros((codes_NL.shape[1], factors_NF.shape[1]))
    probability_LF = np.ones_like(information_LF)
    for latent, factor in np.ndindex(information_LF.shape):
        num_values = int(factors_NF[:, factor].max()) + 1
        cells = np.bincount(bins_NL[:, latent] * num_values + factors_NF[:, factor], minlength=num_bins * num_values)
        joint_BK = cells.reshape(num_bins, num_values)
        joint_BK = joint_BK[joint_BK.any(1)]
        by_bin, by_value = joint_BK.sum(1), joint_BK.sum(0)
        if len(by_bin) > 1:
            information_LF[latent, factor] = entropy_nats(by_bin) + entropy_nats(by_value) - entropy_nats(cells)
            chi_squared = len(codes_NL) * ((np.square(joint_BK) / np.outer(by_bin, by_value)).sum() - 1)
            probability_LF[latent, factor] = chdtrc((len(by_bin) - 1) * (num_values - 1), max(0.0, chi_squared))
    return np.maximum(information_LF, 0.0), probability_LF
