"""Splits and order of examples, derived from the seed: exact and stratified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources import SplitConfig, Survey
from pipelines.data.sources.problems import Problem
from vae.data.manifest import SPLITS, SplitName

_TRAIN, _VALIDATION, _TEST = range(3)
_LEFT_OUT = 255
# Separate streams of random numbers: a row keeps its split when the shuffle changes.
_SPLIT_STREAM, _ORDER_STREAM, _DRAW_STREAM = 0, 1, 2


def draw_rows(survey: Survey, max_rows: int | None, seed: int) -> Survey:
    """Returns the survey with at most `max_rows` rows, the others excluded; None keeps all."""
    excluded = np.zeros(survey.num_rows, bool) if survey.excluded is None else survey.excluded
    rows = np.flatnonzero(~excluded)
    if max_rows is None or len(rows) <= max_rows:
        return survey
    kept = np.random.default_rng([seed, _DRAW_STREAM]).choice(rows, max_rows, replace=False, shuffle=False)
    excluded = np.ones(survey.num_rows, bool)
    excluded[kept] = False
    return replace(survey, excluded=excluded)


def assign_splits(survey: Survey, config: SplitConfig, seed: int) -> tuple[NDArray[np.uint8], list[Problem]]:
    """Assigns every row to a split.

    Counts are exact: `round(fraction × rows)` of each pool, shared among the classes by largest remainder.

    Returns:
        Indices into SPLITS, shape (num_rows,), 255 for excluded rows; and a problem for each class too small to split.
    """
    included = np.ones(survey.num_rows, bool) if survey.excluded is None else ~survey.excluded
    splits = np.where(included, np.uint8(_TRAIN), np.uint8(_LEFT_OUT))
    wanted = {_TEST: config.test, _VALIDATION: config.validation}
    if survey.own_splits is not None:
        splits[included] = survey.own_splits[included]
        for own in np.unique(survey.own_splits):
            wanted.pop(int(own), None)
        # A source with its own validation split alone still gets a test split, out of its training split.
    wanted = {split: fraction for split, fraction in wanted.items() if fraction > 0}
    pool = np.flatnonzero(splits == _TRAIN)
    if not wanted:
        return splits, []
    problems = _lone_classes(survey, pool)
    if not problems:
        _carve(splits, pool, survey, {split: round(len(pool) * share) for split, share in wanted.items()}, seed)
    return splits, problems


def order_rows(survey: Survey, splits: NDArray[np.uint8], seed: int) -> dict[SplitName, NDArray[np.int64]]:
    """Returns the shuffled rows of every split; groups are shuffled among themselves, and rows within their group."""
    rng = np.random.default_rng([seed, _ORDER_STREAM])
    rows = rng.permutation(survey.num_rows)
    if survey.groups is not None and survey.groups.any():
        ranks = rng.permutation(int(survey.groups.max(initial=-1)) + 1)
        rows = rows[np.argsort(ranks[survey.groups[rows]], kind="stable")]
    return {name: rows[splits[rows] == index] for index, name in enumerate(SPLITS)}


def _lone_classes(survey: Survey, pool: NDArray[np.int64]) -> list[Problem]:
    if survey.labels is None or survey.classes is None:
        return []
    counts = np.bincount(survey.labels[pool], minlength=len(survey.classes))
    return [
        Problem("", f"class {survey.classes[index]!r} has one example; a stratified split needs at least 2")
        for index in np.flatnonzero(counts == 1)
    ]


def _carve(
    splits: NDArray[np.uint8], pool: NDArray[np.int64], survey: Survey, counts: Mapping[int, int], seed: int
) -> None:
    rows = np.random.default_rng([seed, _SPLIT_STREAM]).permutation(pool)
    sizes = np.array([len(rows)])
    if survey.labels is not None:
        rows = rows[np.argsort(survey.labels[rows], kind="stable")]
        sizes = np.bincount(survey.labels[rows])
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    taken = np.zeros_like(sizes)
    for split, count in counts.items():
        # At least one example of every class stays in training.
        share = _apportion(sizes, count, np.maximum(sizes - taken - 1, 0))
        for start, size in zip(first + taken, share, strict=True):
            splits[rows[start : start + size]] = split
        taken += share


def _apportion(sizes: NDArray[np.int64], count: int, limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns shares of `count` in proportion to the sizes, by largest remainder, none above its limit."""
    quotas = sizes * (count / max(1, int(sizes.sum())))
    shares = np.minimum(np.floor(quotas).astype(np.int64), limits)
    for index in np.argsort(-(quotas - np.floor(quotas)), kind="stable"):
        if shares.sum() < count and shares[index] < limits[index]:
            shares[index] += 1
    return shares
