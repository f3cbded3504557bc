"""Drift: a comparison of fresh data with a model's training data by the model's own figures.

Shapes: N rows, D values of a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.data.apply.inputs import Examples
from vae import inference, progress
from vae.config import Section
from vae.data.fitting import check_fits
from vae.data.manifest import SPLITS, SplitName
from vae.data.parquet import Dataset
from vae.data.schema import Column, without_absurd
from vae.data.transforms import transform_of
from vae.errors import DataError
from vae.inference.answering import Request, as_scored, inputs_of
from vae.inference.memory import affordable_rows
from vae.model import VAE

REFERENCE = "reference.json"
"""Name of the artifact, beside the report, that holds a model's `Reference`."""
NUM_SAMPLES, REFERENCE_ROWS, ROWS_PER_CALL = 2, 2000, 500
"""Number of importance samples of each row: a comparison needs the same number on both sides, not a tight bound."""
BLOCK_ROWS = 1 << 14
"""Number of training rows whose extremes are taken at once."""
IMPOSSIBLE_NATS = 1e30
"""Negative log-likelihood of a row whose own one is not finite."""
STANDARD_ERRORS = 4.0
"""Standard errors within which figures differ by chance: a check every night gives no false alarm in years."""
EFFECT = 0.1
"""Smallest difference that counts, in standard deviations of the reference."""
OUTSIDE_SHARE = 0.01
"""Smallest difference that counts, in the share of rows outside of the training range."""


class Level(Section):
    """Mean and standard deviation of a figure over rows."""

    mean: float
    std: float


class Profile(Section):
    """Figures of a model over some rows."""

    num_examples: int
    nll: Level
    """−log p(x), in nats per example."""
    num_samples: int = 50
    """Number of importance samples of each row; 50 for a profile that does not state it."""
    error: Level
    """Root mean square error of the reconstruction: of pixels in [0, 1], of columns in their standard deviations."""
    outside: float
    """Share of rows with a value outside of the training split: beyond its smallest or largest, or another category."""


class Range(Section):
    """Range of a pixel or a column in the training split."""

    low: float
    high: float
    categories: tuple[str, ...] | None = None


class Reference(Section):
    """Figures of a model at its registration, for later comparison."""

    profile: Profile
    """Figures on the test split."""
    ranges: tuple[Range, ...]
    """Range of each value in the training split, [D]."""


class Finding(Section):
    """Comparison of one figure with the reference's."""

    what: str
    unit: str
    expected: float
    found: float
    allowed: float
    """Largest difference that is not drift."""
    drifted: bool


def reference_of(model: VAE, dataset: Dataset, ranges: tuple[Range, ...]) -> Reference:
    """Measures a model's figures on the test split of the dataset that it was trained on."""
    return Reference(profile=profile_of(model, dataset, ranges, ("test",), REFERENCE_ROWS), ranges=ranges)


def profile_of(
    model: VAE,
    dataset: Dataset,
    ranges: Sequence[Range],
    splits: Sequence[SplitName] = SPLITS,
    max_rows: int = REFERENCE_ROWS,
    num_samples: int = NUM_SAMPLES,
) -> Profile:
    """Measures what a model says of the first rows of a dataset, which ingest has shuffled.

    Args:
        model: The model.
        dataset: Rows of the kind that the model takes.
        ranges: Range of each value in the training split.
        splits: Splits to take rows of.
        max_rows: Largest number of rows.
        num_samples: Importance samples of each row.

    Raises:
        DataError: If the rows are not of the kind that the model takes, or there are fewer than two.
    """
    check_fits(model.examples, dataset.manifest.example, dataset.uri, categories=False)
    max_rows = affordable_rows(model, num_samples, max_rows)
    total = min(max_rows, sum(dataset.num_rows(split) for split in splits))
    chunks = _rows(model, dataset, splits, max_rows)
    counted = progress.counted(chunks, "comparing figures", total, "rows", lambda one: len(one.values))
    parts = [_measured(model, rows, ranges, num_samples) for rows in counted]
    if sum(len(nll_N) for nll_N, _, _ in parts) < 2:
        raise DataError(f"{dataset.uri} has fewer than 2 rows in {', '.join(splits)}: there is nothing to compare")
    nll_N, error_N, outside_N = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Profile(
        num_examples=len(nll_N),
        nll=_level(nll_N),
        num_samples=num_samples,
        error=_level(error_N),
        outside=float(outside_N.mean()),
    )


def _measured(
    model: VAE, rows: _Chunk, ranges: Sequence[Range], num_samples: int
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
    """Returns −log p(x), the reconstruction's error, and whether a value is outside of the ranges, for each row, [N]."""
    transform, request = transform_of(model.examples), Request(task="score", num_samples=num_samples)
    x, observed = transform.prepare(torch.from_numpy(rows.values.reshape(-1, *model.examples.shape)))
    # Of a row of gaps there is nothing to reconstruct, and log p(nothing) is 0.
    some_N = np.ones(len(x), bool) if observed is None else observed.flatten(1).any(1).numpy()
    conditions_NK = None if rows.conditions is None else rows.conditions[some_N]
    observed = None if observed is None else observed[some_N]
    inputs = inputs_of(model, x[some_N], observed, request, conditions_NK=conditions_NK)
    scored = inputs._replace(x=as_scored(model, inputs.x, request.seed))
    scores_N = inference.score(model, scored, num_samples=request.num_samples, seed=request.seed).cpu().numpy()
    values_ND = (
        np.where(observed.flatten(1).numpy(), rows.values[some_N], np.nan) if observed is not None else rows.values
    )
    missed_ND = transform.missed(values_ND, inference.reconstruct(model, inputs))
    low_D, high_D = (np.array([getattr(one, end) for one in ranges]) for end in ("low", "high"))
    is_number_D = np.array([one.categories is None for one in ranges], bool)
    outside_ND = ((rows.values < low_D) | (rows.values > high_D)) & is_number_D
    nll_N = np.nan_to_num(-scores_N, nan=IMPOSSIBLE_NATS, posinf=IMPOSSIBLE_NATS)
    return nll_N, _root_mean_square(missed_ND), (outside_ND.any(1) | rows.strange)[some_N]


def compare(reference: Profile, fresh: Profile) -> list[Finding]:
    """Returns the comparison of each figure; one has drifted if it moved by more than chance and by more than matters."""
    found = [
        _compare_levels("negative log-likelihood", "nats", reference.nll, fresh.nll, reference, fresh),
        _compare_levels("reconstruction error", "rms", reference.error, fresh.error, reference, fresh),
    ]
    count, others = fresh.num_examples, reference.num_examples
    pooled = (fresh.outside * count + reference.outside * others) / (count + others)
    chance = math.sqrt(pooled * (1 - pooled) * (1 / count + 1 / others))
    allowed = max(OUTSIDE_SHARE, STANDARD_ERRORS * chance)
    drifted = fresh.outside - reference.outside > allowed
    found.append(
        Finding(
            what="outside the training range",
            unit="share of rows",
            expected=reference.outside,
            found=fresh.outside,
            allowed=allowed,
            drifted=drifted,
        )
    )
    return found


def _compare_levels(what: str, unit: str, was: Level, now: Level, reference: Profile, fresh: Profile) -> Finding:
    chance = math.sqrt(was.std**2 / reference.num_examples + now.std**2 / fresh.num_examples)
    allowed = max(EFFECT * was.std, STANDARD_ERRORS * chance)
    drifted = abs(now.mean - was.mean) > allowed
    return Finding(what=what, unit=unit, expected=was.mean, found=now.mean, allowed=allowed, drifted=drifted)


class _Chunk(NamedTuple):
    """Some rows of a dataset as the model's schema has them."""

    values: NDArray[Any]
    """[N,D]"""
    strange: NDArray[np.bool_]
    """Whether a row has a category that the model does not have, [N]."""
    conditions: NDArray[np.float32] | None
    """[N,K]; None for a model without a condition."""


def _rows(model: VAE, dataset: Dataset, splits: Sequence[SplitName], max_rows: int) -> Iterator[_Chunk]:
    examples, remaining = Examples(dataset, model), max_rows
    for split in splits:
        for number in range(len(examples.row_groups(split))):
            group = examples.read(split, number)
            values_ND = group.values.reshape(len(group.values), -1)
            strange_N = np.zeros(len(values_ND), bool) if group.strange is None else group.strange
            for start in range(0, len(values_ND), ROWS_PER_CALL):
                part = slice(start, min(start + ROWS_PER_CALL, start + remaining, len(values_ND)))
                if part.start >= part.stop:
                    return
                remaining -= part.stop - part.start
                conditions_NK = None if group.conditions is None else group.conditions[part]
                yield _Chunk(values_ND[part], strange_N[part], conditions_NK)


class Extremes(NamedTuple):
    """Smallest and largest value of each pixel or column."""

    low: NDArray[np.float64]
    """[D]"""
    high: NDArray[np.float64]
    """[D]"""


def extremes_of(dataset: Dataset, columns: Sequence[Column], start: int, stop: int) -> Extremes:
    """Returns the extremes of some rows of the training split; infinite where nothing is observed."""
    num_values = dataset.manifest.example.num_values
    low_D, high_D = np.full(num_values, np.inf), np.full(num_values, -np.inf)
    for block in dataset.blocks("train", start, stop, BLOCK_ROWS):
        flat_ND = block.values.reshape(len(block.values), -1)
        flat_ND = without_absurd(flat_ND.astype(np.float64), columns) if columns else flat_ND
        low_D = np.fmin(low_D, np.fmin.reduce(flat_ND, axis=0))
        high_D = np.fmax(high_D, np.fmax.reduce(flat_ND, axis=0))
    return Extremes(low_D, high_D)


def ranges_of(parts: Sequence[Extremes], columns: Sequence[Column]) -> tuple[Range, ...]:
    """Returns the range of each pixel or column from the extremes of all parts of the training split."""
    low_D = np.fmin.reduce([part.low for part in parts])
    high_D = np.fmax.reduce([part.high for part in parts])
    categories = [column.categories for column in columns] or [None] * len(low_D)
    # A column without any value has no range, and JSON no infinity.
    bounds = [(float(low), float(high)) if low <= high else (0.0, 0.0) for low, high in zip(low_D, high_D, strict=True)]
    return tuple(
        Range(low=low, high=high, categories=names) for (low, high), names in zip(bounds, categories, strict=True)
    )


def _root_mean_square(missed_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the root mean square of each row over its observed numbers, [N]."""
    is_number_ND = ~np.isnan(missed_ND)
    squares_N = np.square(np.where(is_number_ND, missed_ND, 0.0)).sum(1)
    return np.sqrt(squares_N / np.maximum(is_number_ND.sum(1), 1))


def _level(values_N: NDArray[Any]) -> Level:
    values_N = values_N.astype(np.float64)
    return Level(mean=float(values_N.mean()), std=float(values_N.std()))
