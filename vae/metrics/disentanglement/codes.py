"""Checked codes and factors, their rows to train and to evaluate on, and the entropy of counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae.errors import DataError

NUM_TRAIN = 10_000
NUM_TEST = 5_000


def finite_codes(codes_NL: ArrayLike, where: str = "codes") -> NDArray[np.float64]:
    """Returns codes as float64.

    Raises:
        DataError: If they are not a matrix, or an entry is NaN or infinite.
    """
    codes = np.asarray(codes_NL, np.float64)
    if codes.ndim != 2 or not codes.size:
        raise DataError(f"{where}: expected numbers [rows, dimensions], found shape {codes.shape}")
    if len(bad := np.argwhere(~np.isfinite(codes))):
        raise DataError(
            f"{where}: {len(bad)} of {codes.size} entries are NaN or infinite, the first in row {bad[0, 0]}, dimension "
            f"{bad[0, 1]}; check the encoder, or leave those rows out"
        )
    return codes


def labelled_codes(
    codes_NL: ArrayLike, factors_NF: ArrayLike, least_factors: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns codes as float64, and factors with the values of each numbered from 0.

    Raises:
        DataError: If the two do not fit each other, there are too few dimensions or factors to compare, or a factor has
            only one value or nearly as many values as rows.
    """
    codes, factors = finite_codes(codes_NL), np.asarray(factors_NF)
    if factors.ndim != 2 or len(factors) != len(codes) or not np.issubdtype(factors.dtype, np.integer):
        raise DataError(
            f"factors: expected integers [{len(codes)} rows, factors], found {factors.dtype} of shape {factors.shape}; "
            "pass categories as their codes, and cut numbers into bins"
        )
    if codes.shape[1] < 2 or factors.shape[1] < least_factors:
        raise DataError(
            f"codes and factors: at least 2 dimensions and {least_factors} factors are needed to compare, found "
            f"{codes.shape[1]} and {factors.shape[1]}"
        )
    numbered = np.stack([np.unique(values, return_inverse=True)[1] for values in factors.T], 1)
    for column, num_values in enumerate(numbered.max(0) + 1):
        if num_values < 2:
            raise DataError(
                f"factors: column {column} has one value in all {len(codes)} rows, so no code can predict it; "
                "leave the column out"
            )
        if num_values > len(codes) / 2:
            raise DataError(
                f"factors: column {column} has {num_values} values in {len(codes)} rows, fewer than 2 rows each; pass "
                "more rows, or cut the factor into bins"
            )
    return codes, numbered


def split_rows(num_rows: int, num_train: int, num_test: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Returns all rows in two disjoint parts, in random order and in the proportion of the two numbers."""
    rows = rng.permutation(num_rows)
    cut = round(num_rows * num_train / (num_train + num_test))
    return rows[:cut], rows[cut:]


def standardised(codes_NL: NDArray) -> NDArray[np.float64]:
    """Returns each dimension with mean 0 and variance 1; 0 for a constant dimension."""
    std_L = codes_NL.std(0)
    varies_L = (std_L > 0) & (codes_NL.max(0) > codes_NL.min(0))
    return (codes_NL - codes_NL.mean(0)) * varies_L / np.where(varies_L, std_L, 1.0)


def entropy_nats(weights: NDArray) -> float:
    """Returns the entropy of the distribution that is proportional to some counts or weights, in nats."""
    share = weights[weights > 0] / weights.sum()
    return float(-(share * np.log(share)).sum())
