"""The statistics of a dataset that a model keeps: its schema with the scale of every column."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vae.data.missing import MissingConfig, fit_logistic, without_hidden
from vae.data.moments import Moments
from vae.data.parquet import Dataset, rows_per_block
from vae.data.plausible import LEAST_ROWS, MOST_VALUES, plausible_ranges
from vae.data.rows import ATTRIBUTE
from vae.data.schema import Column, ExampleSpec, without_absurd
from vae.data.transforms.curves import CurveChoice, fit_curve

FIT_ROWS = 1 << 16
"""Rows of the training split, which ingest has shuffled, that curves are fitted to."""
_BLOCK_ROWS = 1 << 16


def example_spec(
    dataset: Dataset,
    missing: MissingConfig | None = None,
    transform: CurveChoice = "standard",
    *,
    from_sample: bool = False,
) -> ExampleSpec:
    """Returns the schema of a dataset's examples with the scale and the extremes of every column.

    All of them are of the entries of the training split that are observed, after some were hidden: a scale from what the
    model may not see would be a leak. Entries outside of their column's plausible range take no part: see
    `vae.data.plausible`.

    Args:
        dataset: Images, with attributes perhaps, or a table.
        missing: Entries to hide, as the model's `Share` hides them.
        transform: Choice of the curves of a table's columns, which are fitted to its first `FIT_ROWS` rows.
        from_sample: Whether to look at a table's first rows alone, which tell the size of its model.

    Raises:
        ConfigError: If a table's entries cannot go missing in that way.
        CorruptData: If a shard is not what the manifest says.
    """
    example = dataset.manifest.example
    columns = example.columns and _table_columns(dataset, example.columns, missing, transform, from_sample)
    return replace(example, columns=columns, attributes=_scaled(example.attributes, _attribute_moments(dataset)))


def _table_columns(
    dataset: Dataset,
    unscaled: Sequence[Column],
    missing: MissingConfig | None,
    transform: CurveChoice,
    from_sample: bool,
) -> tuple[Column, ...]:
    fit_rows = min(FIT_ROWS, max(LEAST_ROWS, MOST_VALUES // len(unscaled)))
    rows = min(dataset.num_rows("train"), fit_rows if from_sample else sys.maxsize)
    columns = [
        column if column.categories else replace(column, lowest=float(lowest), highest=float(highest))
        for column, lowest, highest in zip(unscaled, *plausible_ranges(dataset, rows), strict=True)
    ]
    logistic = None if missing is None else fit_logistic(dataset, missing)
    moments, num_missing_D, start, first = (
        Moments(len(columns)),
        np.zeros(len(columns)),
        0,
        [np.empty((0, len(columns)))],
    )
    for block in dataset.blocks("train", 0, rows, rows_per_block(dataset.manifest.example)):
        if missing is not None:
            block = without_hidden(block, missing, "train", start, logistic)
        values_ND = without_absurd(block.values.astype(np.float64), columns)
        moments.add(values_ND)
        if start < fit_rows:  # an empty slice would keep the whole block
            first.append(values_ND[: fit_rows - start])
        num_missing_D += np.isnan(block.values).sum(0)
        start += len(block.values)
    scaled = zip(_scaled(columns, moments), num_missing_D / max(rows, 1), np.concatenate(first).T, strict=True)
    return tuple(
        replace(column, missing_share=float(share), curve=fit_curve(values_N, column, transform))
        for column, share, values_N in scaled
    )


def _attribute_moments(dataset: Dataset) -> Moments:
    attributes = dataset.manifest.attributes
    moments = Moments(len(attributes))
    if any(column.categories is None for column in attributes):
        table = dataset.read_table("train", [ATTRIBUTE + column.name for column in attributes])
        for batch in table.to_batches(_BLOCK_ROWS):
            moments.add(np.stack([column.to_numpy() for column in batch.columns], axis=1))
    return moments


def _scaled(columns: Sequence[Column], moments: Moments) -> tuple[Column, ...]:
    """Returns columns with the mean, the standard deviation and the extremes of the numeric ones."""
    found = zip(columns, moments.mean, moments.std, moments.smallest, moments.largest, strict=True)
    return tuple(
        column
        if column.categories
        else replace(column, mean=float(mean), std=float(std), **_extremes(smallest, largest))
        for column, mean, std, smallest, largest in found
    )


def _extremes(smallest: float, largest: float) -> dict[str, float]:
    """Returns the fields of a column's extremes; none where nothing is observed."""
    return {"smallest": float(smallest), "largest": float(largest)} if smallest <= largest else {}
