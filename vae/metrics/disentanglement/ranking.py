"""Unsupervised disentanglement ranking, which compares models without factors. Shapes as in the package."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae.errors import DataError
from vae.metrics.disentanglement.codes import finite_codes, standardised

INFORMATIVE_KL_NATS = 0.01


def udr(codes: Sequence[ArrayLike], kl_nats: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Returns how well the dimensions of each model recur in the other models, [M], in [0, 1].

    Protocol: the Spearman variant. Models of one configuration and different seeds, at least 5 in the paper, encode the
    same
    rows. R is the absolute rank correlation of the informative dimensions of two models, whose KL is above 0.01 nats; a
    constant dimension correlates with none. The agreement of two models is (max R)² / ΣR, summed over rows and columns and
    divided by the number of both; 0 if either model has no informative dimension. A model's score is the median over the
    other models.

    Args:
        codes: Codes [N,L] of each model, for the same rows in the same order; L may differ.
        kl_nats: KL(q(z|x) ‖ p(z)) of each dimension, mean over rows, [L] of each model.

    Raises:
        DataError: If there are fewer than 2 models, or codes and KL do not fit each other.

    References:
        Duan et al., Unsupervised Model Selection for Variational Disentangled Representation Learning (2020).
        https://arxiv.org/abs/1905.12614
    """
    if len(codes) < 2 or len(codes) != len(kl_nats):
        raise DataError(
            f"codes: expected those of at least 2 models and as many KLs, found {len(codes)} and {len(kl_nats)}"
        )
    ranks = [_informative_ranks(*model, f"model {i}") for i, model in enumerate(zip(codes, kl_nats, strict=True))]
    num_rows = [len(each) for each in ranks]
    if len(set(num_rows)) > 1:
        raise DataError(f"codes: expected the same rows of every model, found {num_rows}; encode one split with all")
    agreement_MM = np.zeros((len(ranks), len(ranks)))
    for i, j in combinations(range(len(ranks)), 2):
        agreement_MM[i, j] = agreement_MM[j, i] = _agreement(np.abs(ranks[i].T @ ranks[j]) / num_rows[0])
    return np.array([np.median(np.delete(row, i)) for i, row in enumerate(agreement_MM)])


def _informative_ranks(codes_NL: ArrayLike, kl_L: ArrayLike, where: str) -> NDArray[np.float64]:
    """Returns the standardised ranks of the informative dimensions."""
    from scipy.stats import rankdata

    codes, kl = finite_codes(codes_NL, f"{where}: codes"), np.asarray(kl_L, np.float64)
    if kl.shape != codes.shape[1:] or not np.isfinite(kl).all():
        raise DataError(
            f"{where}: kl_nats: expected a finite number for each of {codes.shape[1]} dimensions, found shape {kl.shape} "
            f"and {np.count_nonzero(~np.isfinite(kl))} that are NaN or infinite"
        )
    return standardised(rankdata(codes, axis=0)[:, kl > INFORMATIVE_KL_NATS])


def _agreement(correlation_LL: NDArray) -> float:
    """Returns the agreement of two models: 1 if every row and every column has a single entry of 1 and zeros."""
    if not correlation_LL.size:
        return 0.0
    total = 0.0
    for axis in (0, 1):
        strength = correlation_LL.sum(axis)
        total += (np.square(correlation_LL.max(axis)) / np.where(strength > 0, strength, 1.0)).sum()
    return float(total / sum(correlation_LL.shape))
