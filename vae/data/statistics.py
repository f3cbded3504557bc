"""What a model has to know of its data before it sees any: shapes, names, and the scale of every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vae.config import Missing
from vae.data import manifest
from vae.data.corruption import fit_logistic, without_hidden
from vae.data.manifest import ImageSpec
from vae.data.moments import Moments
from vae.data.parquet import Dataset
from vae.data.rows import ATTRIBUTE
from vae.examples import Column, ExampleSpec

_BLOCK_BYTES, _BLOCK_ROWS = 1 << 20, 1 << 16


def example_spec(dataset: Dataset, missing: Missing | None = None) -> ExampleSpec:
    """What one example of a dataset is.

    Means and standard deviations are of the entries of the training split that are observed, after some were hidden: a
    scale from what the model may not see would be a leak.

    Args:
        dataset: Images, with attributes perhaps, or a table.
        missing: Entries to hide, as the model's `Share` hides them.

    Raises:
        ConfigError: If a table's entries cannot go missing in that way.
        CorruptData: If a shard is not what the manifest says.
    """
    facts = dataset.manifest
    columns = None
    if not isinstance(facts.example, ImageSpec):
        columns = _scaled(facts.example.columns, _table_moments(dataset, missing), dataset.num_rows("train"))
    attributes = _scaled(facts.attributes, _attribute_moments(dataset), 0)
    return ExampleSpec(facts.example.shape, facts.classes, columns, attributes)


def _table_moments(dataset: Dataset, missing: Missing | None) -> Moments:
    example, rows = dataset.manifest.example, dataset.num_rows("train")
    logistic = None if missing is None else fit_logistic(dataset, missing)
    moments, start = Moments(example.num_values), 0
    for block in dataset.blocks("train", 0, rows, max(1, _BLOCK_BYTES // example.row_bytes)):
        if missing is not None:
            block = without_hidden(block, missing, "train", start, logistic)
        moments.add(block.values)
        start += len(block.values)
    return moments


def _attribute_moments(dataset: Dataset) -> Moments:
    attributes = dataset.manifest.attributes
    moments = Moments(len(attributes))
    if any(column.categories is None for column in attributes):
        table = dataset.read_table("train", [ATTRIBUTE + column.name for column in attributes])
        for batch in table.to_batches(_BLOCK_ROWS):
            moments.add(np.stack([column.to_numpy() for column in batch.columns], axis=1))
    return moments


def _scaled(columns: Sequence[manifest.Column], moments: Moments, rows: int) -> tuple[Column, ...]:
    found = []
    for column, mean, std, count in zip(columns, moments.mean, moments.std, moments.count, strict=True):
        mean, std = (float(mean), float(std)) if column.categories is None else (0.0, 1.0)
        found.append(
            Column(column.name, column.categories, mean, std, column.dtype, 1 - float(count) / rows if rows else 0.0)
        )
    return tuple(found)
