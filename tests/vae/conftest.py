"""A small published dataset, written by hand: these tests do not stand on ingest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from vae.data.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    ImageSpec,
    Manifest,
    derive_dataset_id,
    derive_schema_fingerprint,
)
from vae.data.parquet import Dataset, arrow_schema, write_shard
from vae.storage import locate

PublishImages = Callable[..., Dataset]


def _publish(
    folder: Path,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    splits: dict[str, int],
    group_rows: int = 100,
) -> Dataset:
    channels, height, width = pixels.shape[1:]
    example = ImageSpec(channels=channels, height=height, width=width)
    classes = None if labels is None else tuple(str(c) for c in range(int(labels.max()) + 1))
    schema = arrow_schema(example, labelled=labels is not None)
    shards, start = {}, 0
    for split, rows in splits.items():
        part = slice(start, start + rows)
        columns = [pa.array([row.tobytes() for row in pixels[part]], pa.binary(example.row_bytes))]
        if labels is not None:
            columns.append(pa.array(labels[part], pa.int32()))
        columns.append(pa.array(range(start, start + rows), pa.int64()))
        table = pa.Table.from_arrays(columns, schema=schema)
        shards[split] = (write_shard(locate(str(folder / f"{split}.parquet")), table, group_rows),)
        start += rows
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        dataset_id=derive_dataset_id([shard.sha256 for group in shards.values() for shard in group], {}),
        name="test",
        created_at=datetime.now(UTC),
        example=example,
        classes=classes,
        splits=shards,
        class_counts={},
        sources=(),
        ingest={},
        schema_fingerprint=derive_schema_fingerprint(example, classes),
        rejected=0,
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return Dataset.open(str(folder))


@pytest.fixture(scope="session")
def publish() -> PublishImages:
    """Publishes arrays of images [N,C,H,W] as a dataset in a folder."""
    return _publish


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """scikit-learn's scanned digits: 1,400 to train, 197 to validate, 200 to test; row groups of 100."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    splits = {"train": 1400, "validation": 197, "test": 200}
    return _publish(tmp_path_factory.mktemp("digits"), pixels, data.target.astype(np.int64), splits)
