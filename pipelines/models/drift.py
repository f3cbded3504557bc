"""Drift: whether fresh data is still what a model was trained on, by what the model says of it.

Shapes: N rows, D values of a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.data.apply.inputs import Examples
from vae.config import Section
from vae.data.manifest import SPLITS, SplitName
from vae.data.parquet import Dataset
from vae.data.schema import Column, without_absurd
from vae.errors import DataError
from vae.inference.answering import answer
from vae.model import VAE

REFERENCE = "reference.json"
"""The artifact of a run that holds its model's `Reference`, beside the report."""
NUM_SAMPLES, REFERENCE_ROWS, ROWS_PER_CALL = 50, 2000, 500
_BLOCK_ROWS = 1 << 14
IMPOSSIBLE_NATS = 1e30
"""For a row whose likelihood is beyond what a float can say."""
STANDARD_ERRORS = 4.0
"""What chance does between two samples of the same data, so that a check every night gives no false alarm in years."""
EFFECT = 0.1
"""Standard deviations of the reference, below which a difference is none, however sure it is."""
OUTSIDE_SHARE = 0.01
"""The same, of rows outside of the training range."""


class Level(Section):
    """A figure over rows."""

    mean: float
    std: float


class Profile(Section):
    """What a model says of some rows."""

    num_examples: int
    nll: Level
    """−log p(x), in nats per example, from `NUM_SAMPLES` importance samples."""
    error: Level
    """Root mean square of what the reconstruction misses: of pixels in [0, 1], of columns in their standard deviations."""
    outside: float
    """The share of rows with a value that no row of the training split comes up to: beyond its smallest or largest, or a
    category that is not there."""


class Range(Section):
    """What a pixel or a column is in the training split."""

    low: float
    high: float
    categories: tuple[str, ...] | None = None


class Reference(Section):
    """What a model is compared with later: its card, in figures."""

    profile: Profile
    """Of the test split."""
    ranges: tuple[Range, ...]
    """Of the training split, [D]."""


class Finding(Section):
    """One of a profile's figures beside the reference's."""

    what: str
    unit: str
    expected: float
    found: float
    allowed: float
    """How far they may be apart."""
    drifted: bool


def reference_of(model: VAE, dataset: Dataset) -> Reference:
    """A model's figures on the test split of the dataset that it was trained on."""
    ranges = _ranges(dataset, model.examples.columns)
    return Reference(profile=profile_of(model, dataset, ranges, ("test",), REFERENCE_ROWS), ranges=ranges)


def profile_of(
    model: VAE,
    dataset: Dataset,
    ranges: Sequence[Range],
    splits: Sequence[SplitName] = SPLITS,
    max_rows: int = REFERENCE_ROWS,
) -> Profile:
    """What a model says of the first rows of a dataset, which ingest has shuffled.

    Raises:
        DataError: If the rows are not of the kind that the model takes, or there are fewer than two.
    """
    _check_kind(model, dataset)
    nll, error, outside = [], [], []
    for values, conditions in _rows(model, dataset, splits, max_rows):
        values, outside_N = _within(values, ranges)
        if isinstance(values, pd.DataFrame):
            values = _plausible(values, model.examples.columns or ())
        if isinstance(values, pd.DataFrame) and not (there_N := values.notna().any(axis=1).to_numpy()).all():
            # Of a row of gaps there is nothing to reconstruct, and log p(nothing) is 0.
            values, outside_N = values[there_N], outside_N[there_N]
            conditions = conditions and [told for told, there in zip(conditions, there_N, strict=True) if there]
        params: dict[str, Any] = {"condition": conditions} if conditions else {}
        scores = answer(model, values, {**params, "task": "score", "num_samples": NUM_SAMPLES})
        nll.append(np.nan_to_num(-cast(NDArray[np.float32], scores), nan=IMPOSSIBLE_NATS, posinf=IMPOSSIBLE_NATS))
        found = answer(model, values, {**params, "task": "reconstruct"})
        error.append(_root_mean_square(values, found, model.examples.columns))
        outside.append(outside_N)
    if sum(map(len, nll)) < 2:
        raise DataError(f"{dataset.uri} has fewer than 2 rows in {', '.join(splits)}: there is nothing to compare")
    return Profile(
        num_examples=sum(map(len, nll)),
        nll=_level(nll),
        error=_level(error),
        outside=float(np.concatenate(outside).mean()),
    )


def compare(reference: Profile, fresh: Profile) -> list[Finding]:
    """Which figures have moved by more than chance and more than matters."""
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


def _check_kind(model: VAE, dataset: Dataset) -> None:
    """Other categories are drift; other columns or another shape are a mistake."""
    known, data = model.examples, dataset.manifest.example
    if known.columns is None or data.columns is None:
        if (known.kind, known.shape) != (data.kind, data.shape):
            raise DataError(f"{dataset.uri}: the model takes examples of shape {known.shape}, found {data.shape}")
        return
    expected = {column.name: column.categories is None for column in known.columns}
    found = {column.name: column.categories is None for column in data.columns}
    if expected != found:
        names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        raise DataError(f"{dataset.uri}: the model takes another table; these columns differ: {', '.join(names)}")


def _rows(
    model: VAE, dataset: Dataset, splits: Sequence[SplitName], max_rows: int
) -> Iterator[tuple[Any, list[str] | None]]:
    """Rows as `predict` takes them, with what a conditional model is told of each."""
    examples = Examples(dataset, model.conditions)
    left = max_rows
    for split in splits:
        for number in range(len(examples.row_groups(split))):
            group = examples.read(split, number)
            for start in range(0, group.table.num_rows, ROWS_PER_CALL):
                part = slice(start, min(start + ROWS_PER_CALL, start + left, group.table.num_rows))
                if part.start >= part.stop:
                    return
                left -= part.stop - part.start
                yield group.take(part), None if group.conditions is None else list(group.conditions[part])


def _ranges(dataset: Dataset, columns: Sequence[Column] | None) -> tuple[Range, ...]:
    example, rows = dataset.manifest.example, dataset.num_rows("train")
    low_D, high_D = np.full(example.num_values, np.inf), np.full(example.num_values, -np.inf)
    for block in dataset.blocks("train", 0, rows, _BLOCK_ROWS):
        flat_ND = block.values.reshape(len(block.values), -1).astype(np.float64)
        if columns is not None:
            flat_ND = without_absurd(flat_ND, columns)
        low_D = np.fmin(low_D, np.fmin.reduce(flat_ND, axis=0))
        high_D = np.fmax(high_D, np.fmax.reduce(flat_ND, axis=0))
    categories = [c.categories for c in example.columns] if example.columns else [None] * len(low_D)
    # A column that is nowhere there has no range, and JSON no infinity.
    bounds = [(low, high) if low <= high else (0.0, 0.0) for low, high in zip(low_D, high_D, strict=True)]
    return tuple(
        Range(low=float(low), high=float(high), categories=names)
        for (low, high), names in zip(bounds, categories, strict=True)
    )


def _within(values: Any, ranges: Sequence[Range]) -> tuple[Any, NDArray[np.bool_]]:
    """The rows without categories that the model has never seen, and which rows are outside of the ranges, [N]."""
    if not isinstance(values, pd.DataFrame):
        flat_ND = values.reshape(len(values), -1)
        low_D, high_D = (np.array([getattr(one, end) for one in ranges]) for end in ("low", "high"))
        return values, ((flat_ND < low_D) | (flat_ND > high_D)).any(1)
    kept, outside_N = {}, np.zeros(len(values), bool)
    for (name, column), known in zip(values.items(), ranges, strict=True):
        if known.categories is None:
            numbers = column.astype(float)
            outside_N |= ((numbers < known.low) | (numbers > known.high)).to_numpy()
            kept[name] = column
        else:
            text = column.astype(object)
            strange = ~text.isin(known.categories) & text.notna()
            outside_N |= strange.to_numpy()
            kept[name] = text.mask(strange, None)
    return pd.DataFrame(kept), outside_N


def _plausible(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Returns rows without the numbers that the model treats as missing."""
    kept = {
        column.name: frame[column.name].where(frame[column.name].between(column.lowest, column.highest))
        for column in columns
        if column.lowest is not None and column.highest is not None
    }
    return frame.assign(**kept)


def _root_mean_square(values: Any, found: Any, columns: Sequence[Column] | None) -> NDArray[np.float64]:
    """Of each row over its observed numbers, [N]."""
    if columns is None:
        missed_ND = (values.astype(np.float64) / 255 - np.asarray(found)).reshape(len(values), -1)
    else:
        numbers = [column for column in columns if column.categories is None]
        missed_ND = (
            np.stack(
                [(values[c.name].astype(float) - found[c.name].astype(float)).to_numpy() / c.std for c in numbers],
                axis=1,
            )
            if numbers
            else np.zeros((len(values), 1))
        )
    there_ND = ~np.isnan(missed_ND)
    squares_N = np.square(np.where(there_ND, missed_ND, 0.0)).sum(1)
    return np.sqrt(squares_N / np.maximum(there_ND.sum(1), 1))


def _level(parts: Sequence[NDArray[Any]]) -> Level:
    values_N = np.concatenate(parts).astype(np.float64)
    return Level(mean=float(values_N.mean()), std=float(values_N.std()))
