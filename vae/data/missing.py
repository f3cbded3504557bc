"""Entries that are hidden on purpose, by a draw that depends on split and row alone.

Shapes: N rows, D values of a row (C·H·W of an image, columns of a table).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Union

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vae.data.manifest import SPLITS
from vae.data.moments import Moments
from vae.data.parquet import Dataset
from vae.data.plausible import Distances, medians
from vae.data.rows import Rows, holds_gaps
from vae.data.transforms import transform_of
from vae.errors import ConfigError
from vae.parts.part import Part
from vae.seeds import Stream, derive

FIT_ROWS = 16_384
"""Rows of the training split, which ingest has shuffled, that a logistic model of missing entries is fitted to."""
_DRAW_BYTES = 1 << 18
_LEVELS = 1 << 16
"""Levels of a draw: the share of hidden entries is exact to one level."""


class MissingPart(Part):
    """A rule by which entries are hidden."""

    how: ClassVar[str]
    """The rule, as text for a report."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the values that is hidden, among those that the rule can hide."""

    @property
    def summary(self) -> str:
        """One line for a report, with the share."""
        return f"{100 * self.share:g} % of entries hidden {self.how}"


class MissingCompletelyAtRandom(MissingPart):
    """Each value is missing with the same probability."""

    how: ClassVar[str] = "completely at random"
    kind: Literal["mcar"] = "mcar"


class MissingAtRandom(MissingPart):
    """Half of the values of an example are always observed, and decide how likely the others are missing."""

    how: ClassVar[str] = "at random, of those that can be"
    kind: Literal["mar"] = "mar"


class MissingNotAtRandom(MissingPart):
    """The larger a value, the likelier it is missing."""

    how: ClassVar[str] = "not at random"
    kind: Literal["mnar"] = "mnar"


MissingConfig = Annotated[
    Union[MissingCompletelyAtRandom, MissingAtRandom, MissingNotAtRandom],  # noqa: UP007
    Field(discriminator="kind"),
]


@dataclass(frozen=True, eq=False)
class Logistic:
    """The probability of a table's entries to be missing: σ(standardised values · weights + intercept)."""

    mean: NDArray[np.float64]
    """[D], of the columns."""
    std: NDArray[np.float64]
    """[D], 1 for a constant."""
    weights: NDArray[np.float64]
    """[D,D]: how the columns (rows of the matrix) drive the missing ones (its columns)."""
    intercept: NDArray[np.float64]
    """[D], -∞ for columns that are always there."""

    def probability(self, values_ND: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the probability of each entry to be missing, [N,D]; a missing one counts as its column's mean."""
        z_ND = np.nan_to_num((values_ND - self.mean) / self.std)
        # Not by a matrix product, whose rounding depends on how many rows there are.
        score_ND = np.zeros_like(z_ND) + self.intercept
        for z_N, weights_D in zip(z_ND.T, self.weights, strict=True):
            score_ND += z_N[:, None] * weights_D
        return _sigmoid(score_ND)


def fit_logistic(dataset: Dataset, config: MissingConfig) -> Logistic | None:
    """Fits the probability of a dataset's entries to be missing; returns None for missing completely at random.

    The scores that drive a column have unit variance over the training split, and its intercept is such that the wanted
    share of it is missing there on average. At random, half the columns (the larger half, drawn by their number alone) are
    always there, and weights that are drawn once mix them. Not at random, each column is its own driver.

    Raises:
        ConfigError: If the dataset holds images and they are not to be missing completely at random, or a table has too
            few columns.

    References:
        Muzellec, Josse, Boyer & Cuturi, MissingConfig Data Imputation using Optimal Transport (2020): logistic masking.
    """
    if isinstance(config, MissingCompletelyAtRandom):
        return None
    if not dataset.manifest.example.columns:
        raise ConfigError(
            f"data.missing: {config.kind} is decided by the columns of a table, and {dataset.uri} holds "
            f"{transform_of(dataset.manifest.example).noun}; use mcar"
        )
    values_ND = dataset.read_rows("train", 0, min(FIT_ROWS, dataset.num_rows("train"))).values
    return _fit(values_ND.astype(np.float64), config)


def _fit(values_ND: NDArray[np.float64], config: MissingAtRandom | MissingNotAtRandom) -> Logistic:
    distances = Distances(medians(values_ND))
    distances.add(values_ND)
    lowest_D, highest_D = distances.ranges()
    values_ND = np.where((values_ND >= lowest_D) & (values_ND <= highest_D), values_ND, np.nan)
    moments = Moments(values_ND.shape[1])
    moments.add(values_ND)
    z_ND = np.nan_to_num((values_ND - moments.mean) / moments.std)
    weights_DD, can_miss_D = _drivers(values_ND.shape[1], config)
    score_ND = z_ND @ weights_DD
    scale_D = score_ND.std(0)
    scale_D[scale_D == 0] = 1
    low, high = np.full(len(scale_D), -60.0), np.full(len(scale_D), 60.0)
    for _ in range(48):
        middle = (low + high) / 2
        above = _sigmoid(score_ND / scale_D + middle).mean(0) > config.share
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return Logistic(moments.mean, moments.std, weights_DD / scale_D, np.where(can_miss_D, low, -np.inf))


def _drivers(
    num_columns: int, config: MissingAtRandom | MissingNotAtRandom
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns the weights [D,D] before they are scaled, and which columns can be missing [D]."""
    if isinstance(config, MissingNotAtRandom):
        return np.eye(num_columns), np.ones(num_columns, bool)
    if num_columns < 2:
        raise ConfigError(
            "data.missing: mar needs a column that is always there beside one that is not; use mcar or mnar"
        )
    rng = np.random.default_rng(derive(0, Stream.MISSING, len(SPLITS), num_columns))
    can_miss_D = np.zeros(num_columns, bool)
    can_miss_D[rng.permutation(num_columns)[: num_columns // 2]] = True
    weights_DD = rng.standard_normal((num_columns, num_columns))
    return weights_DD * np.outer(~can_miss_D, can_miss_D), can_miss_D


def hide(
    values_ND: NDArray[np.uint8 | np.float64],
    config: MissingConfig,
    *,
    split: str,
    first_row: int,
    logistic: Logistic | None = None,
) -> NDArray[np.bool_]:
    """Returns which entries remain observed after some were hidden, bool [N,D].

    An entry's draw depends on its split and row alone: not on which range it is read in, nor on the run's seed, so that two
    models are trained and scored on the same holes.

    Args:
        values_ND: Of images or of a table's rows.
        config: How they go missing.
        split: Its name.
        first_row: The first row's number in the split.
        logistic: What `fit_logistic` gives for the dataset and the configuration.
    """
    num_rows, num_values = values_ND.shape
    words_per_row = -(-num_values // 4)
    bits = np.random.PCG64(derive(0, Stream.MISSING, SPLITS.index(split)))
    bits.advance(first_row * words_per_row)
    observed_ND = np.empty(values_ND.shape, bool)
    rows_at_once = max(1, _DRAW_BYTES // (2 * max(1, num_values)))
    for row in range(0, num_rows, rows_at_once):
        values = values_ND[row : row + rows_at_once]
        draw = bits.random_raw(len(values) * words_per_row).astype("<u8").view("<u2").reshape(len(values), -1)
        share = config.share if logistic is None else logistic.probability(values.astype(np.float64))
        threshold = np.rint(np.multiply(share, _LEVELS)).astype(np.uint32)
        np.greater_equal(draw[:, :num_values], threshold, out=observed_ND[row : row + rows_at_once])
    return observed_ND & ~np.isnan(values_ND) if holds_gaps(values_ND) else observed_ND


def without_hidden(rows: Rows, config: MissingConfig, split: str, first_row: int, logistic: Logistic | None) -> Rows:
    """Rows with entries hidden: NaN in a table, 0 in images, whose `observed` then says where."""
    observed_ND = hide(rows.values, config, split=split, first_row=first_row, logistic=logistic)
    if holds_gaps(rows.values):
        return rows._replace(values=np.where(observed_ND, rows.values, np.nan))
    return rows._replace(values=rows.values * observed_ND, observed=observed_ND)


def _sigmoid(score: NDArray[np.float64]) -> NDArray[np.float64]:
    # By tanh, which no argument overflows.
    return 0.5 + 0.5 * np.tanh(score / 2)
