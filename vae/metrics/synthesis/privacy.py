"""Distance of synthetic rows of a table from the training rows, beside their distance from held-out rows.

Numbers are in any unit, categories are codes, and NaN is a missing value.

Shapes: N, M and S rows, B rows of a block, D columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae.data.schema import Column
from vae.metrics.tables import Array, observed

_BLOCK_ROWS = 256


def nearest_distances(rows_ND: Array, others_MD: Array, columns: Sequence[Column], spread_D: Array) -> Array:
    """Returns the distance of each row to the nearest of other rows, [N], from 0 to 1.

    The distance of two rows is the mean over the columns (Gower 1971): of numbers their difference as a share of the
    column's spread, 1 at most; 0 for equal categories and 1 for different ones; 1 where one of two values is missing.

    Args:
        rows_ND: The rows.
        others_MD: The other rows.
        columns: The columns.
        spread_D: Largest minus smallest value of each number, above 0.
    """
    distances = [
        sum(
            _distances(rows_BD[:, number], others_MD[:, number], column.categories is None, spread_D[number])
            for number, column in enumerate(columns)
        )
        for rows_BD in np.split(rows_ND, range(_BLOCK_ROWS, len(rows_ND), _BLOCK_ROWS))
    ]
    return np.concatenate([np.asarray(block_BM).min(1) for block_BM in distances]) / len(columns)


def _distances(one_B: Array, other_M: Array, is_number: bool, spread: float) -> NDArray[np.float32]:
    """Returns the distance of each value to each other value of a column, [B,M]."""
    one, other = one_B.astype(np.float64)[:, None], other_M[None]
    apart = np.minimum(np.abs(one - other) / spread, 1) if is_number else one != other
    one_gap, other_gap = np.isnan(one), np.isnan(other)
    return np.where(one_gap | other_gap, one_gap != other_gap, apart).astype(np.float32)


def spreads(rows_ND: Array) -> Array:
    """Returns the largest minus the smallest value of each column, [D]; 1 where all are alike."""
    parts = [observed(values_N) for values_N in rows_ND.T]
    return np.array([np.ptp(part) if len(part) and np.ptp(part) else 1.0 for part in parts])


def nearer_to_training(made_SD: Array, train_ND: Array, holdout_ND: Array, columns: Sequence[Column]) -> float:
    """Returns the share of synthetic rows that are nearer to a training row than to any of as many held-out rows.

    It is near 0.5 for rows that know no more of the training rows than of the held-out ones, and 1 for copies. Rows that
    are as near to both count as one half.

    Args:
        made_SD: Synthetic rows.
        train_ND: Training rows.
        holdout_ND: As many rows that were not trained on.
        columns: The columns.

    References:
        Platzer & Reutterer, Holdout-Based Empirical Assessment of Mixed-Type Synthetic Data (2021), section 2.2.
        https://arxiv.org/abs/2104.00635
    """
    assert len(train_ND) == len(holdout_ND), "the nearest of more rows is nearer"
    spread_D = spreads(np.concatenate([train_ND, holdout_ND]))
    to_train_S, to_holdout_S = (nearest_distances(made_SD, rows, columns, spread_D) for rows in (train_ND, holdout_ND))
    return float(((to_train_S < to_holdout_S) + 0.5 * (to_train_S == to_holdout_S)).mean())


def membership_auroc(train_N: Array, holdout_M: Array) -> float:
    """Returns the area under the ROC curve of telling training rows from held-out rows by a score.

    It is the probability that a training row has the higher score: 0.5 if membership does not show, 1 if it always does.

    Args:
        train_N: Scores of training rows, such as log p(x), or minus the distance to the nearest synthetic row.
        holdout_M: Scores of rows that were not trained on.
    """
    ordered = np.sort(holdout_M)
    below, up_to = (np.searchsorted(ordered, train_N, side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(ordered)))
