"""Small published datasets, written by hand: these tests do not stand on ingest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from vae.data.manifest import MANIFEST_NAME, Manifest, derive_dataset_id
from vae.data.parquet import Dataset, write_shard
from vae.data.rows import arrow_schema
from vae.data.schema import Column, ExampleSpec
from vae.storage import locate

Publish = Callable[..., Dataset]


def _publish(
    folder: Path,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    splits: dict[str, int],
    group_rows: int = 100,
    attributes: Sequence[Column] = (),
    attribute_values: NDArray[np.float32] | None = None,
) -> Dataset:
    example = ExampleSpec(pixels.shape[1:], attributes=tuple(attributes))
    images = pa.array([row.tobytes() for row in pixels], pa.binary(example.row_bytes))
    values = [] if attribute_values is None else [pa.array(column) for column in attribute_values.T]
    return _write(folder, example, [images], labels, splits, group_rows, values)


def _publish_table(
    folder: Path,
    table: pa.Table,
    columns: Sequence[Column],
    labels: NDArray[np.int64] | None,
    splits: dict[str, int],
    group_rows: int = 100,
) -> Dataset:
    return _write(folder, ExampleSpec.of_table(columns), table.columns, labels, splits, group_rows)


def _write(
    folder: Path,
    example: ExampleSpec,
    values: Sequence[pa.Array],
    labels: NDArray[np.int64] | None,
    splits: dict[str, int],
    group_rows: int,
    attribute_values: Sequence[pa.Array] = (),
) -> Dataset:
    classes = None if labels is None else tuple(str(c) for c in range(int(labels.max()) + 1))
    columns = [*values, *([] if labels is None else [pa.array(labels, pa.int32())]), *attribute_values]
    columns.append(pa.array(range(len(values[0])), pa.int64()))
    example = replace(example, classes=classes)
    whole = pa.Table.from_arrays(columns, schema=arrow_schema(example))
    shards, start = {}, 0
    for split, rows in splits.items():
        location = locate(str(folder / f"{split}.parquet"))
        shards[split] = (write_shard(location, whole.slice(start, rows), group_rows),)
        start += rows
    manifest = Manifest.made_now(
        dataset_id=derive_dataset_id([shard.sha256 for group in shards.values() for shard in group], {}),
        name="test",
        example=example,
        splits=shards,
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return Dataset.open(str(folder))


@pytest.fixture(scope="session")
def publish() -> Publish:
    """Publishes arrays of images [N,C,H,W], and attributes [N,A] perhaps, as a dataset in a folder."""
    return _publish


@pytest.fixture(scope="session")
def publish_table() -> Publish:
    """Publishes an Arrow table as a dataset in a folder."""
    return _publish_table


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A table of 900 to train and 100 to validate: age and income, which go together, a constant, and a colour; holes in
    age and colour.
    """
    rng = np.random.default_rng(0)
    age = rng.normal(40, 10, 1000)
    income = np.exp(age / 20 + rng.normal(0, 0.5, 1000))
    colour = np.array(["blue", "green", "red"])[rng.integers(3, size=1000)]
    table = pa.table(
        {
            "age": pa.array(age, mask=rng.random(1000) < 0.1),
            "income": income,
            "year": np.full(1000, 2026),
            "colour": pa.array(colour, mask=rng.random(1000) < 0.2),
        }
    )
    columns = [
        *(Column(name, dtype=str(table[name].type)) for name in ("age", "income", "year")),
        Column("colour", ("blue", "green", "red"), dtype="string"),
    ]
    splits = {"train": 900, "validation": 100}
    return _publish_table(tmp_path_factory.mktemp("people"), table, columns, rng.integers(2, size=1000), splits)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """scikit-learn's scanned digits: 1,400 to train, 197 to validate, 200 to test; row groups of 100."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    splits = {"train": 1400, "validation": 197, "test": 200}
    return _publish(tmp_path_factory.mktemp("digits"), pixels, data.target.astype(np.int64), splits)
