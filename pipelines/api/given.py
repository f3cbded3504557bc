"""Data that a caller has at hand, as a dataset: it is ingested, unless the same data were before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from vae.config import parse
from vae.data.catalog import resolve
from vae.data.manifest import MANIFEST_NAME
from vae.data.parquet import Dataset
from vae.errors import DataError
from vae.storage import locate

THREADS = 4
"""Threads that decode and write chunks."""
EXPECTED = (
    "expected an array or tensor of images (N, H, W), (N, H, W, C) or (N, C, H, W) or of rows (N, D), a pair of one and "
    "its labels, a data frame, an Arrow table, or the path of a source or dataset"
)


def dataset_of(data: Any, name: str, home: str, reading: Mapping[str, Any]) -> Dataset:
    """Returns the dataset of some data, with its shards checked as they are read.

    Args:
        data: A dataset, the name, path or URI of one, the path or URI of a source of `betaline ingest`, or values in
            memory: see `vae.fit`.
        name: Name of the dataset, if one is made.
        home: Folder of all datasets, as a path or URI.
        reading: Fields of `IngestConfig`, such as `label` or `resize`.

    Raises:
        ConfigError: If a field is unknown or its value refused.
        DataError: If the data are of no known kind, or cannot be ingested.
    """
    if isinstance(data, Dataset):
        return Dataset.open(data.uri, checks_shards=True)
    if isinstance(data, str | Path):
        return Dataset.open(_uri_of(str(data), name, home, reading), checks_shards=True)
    with TemporaryDirectory(prefix="betaline-") as folder:
        return Dataset.open(_ingested(_written(data, Path(folder), name), name, home, reading), checks_shards=True)


def _uri_of(source: str, name: str, home: str, reading: Mapping[str, Any]) -> str:
    """Returns the URI of a dataset that exists under this name or address, or that is made of this source."""
    place = locate(source)
    if (place / MANIFEST_NAME).exists():
        return place.uri
    is_name = "/" not in source and not place.exists() and "." not in source and ":" not in source
    return resolve(home, source) if is_name else _ingested(source, name, home, reading)


def _ingested(source: str, name: str, home: str, reading: Mapping[str, Any]) -> str:
    # With every kind of source and its libraries: a dataset that exists needs none of them.
    from pipelines.data.ingest import ingest
    from pipelines.data.sources import IngestConfig

    config = parse(IngestConfig, {"source": source, "name": name, **reading}, "reading")
    return ingest(config, home, _in_threads).uri


def _in_threads(work: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
    with ThreadPoolExecutor(THREADS) as threads:
        yield from threads.map(work, parts)


def _written(data: Any, folder: Path, name: str) -> str:
    """Writes values in memory to a file of a kind that ingest reads; returns its path."""
    if isinstance(data, tuple) and len(data) == 2:
        data = {"images": data[0], "labels": data[1]}
    if isinstance(data, torch.Tensor | np.ndarray):
        data = {"images": data}
    if isinstance(data, Mapping) and any(np.ndim(values) > 1 for values in data.values()):
        path = folder / f"{name}.npz"
        np.savez(path, allow_pickle=False, **{key: _array(values) for key, values in data.items()})
        return str(path)
    path = folder / f"{name}.parquet"
    pq.write_table(_table(data), path)
    return str(path)


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _table(data: Any) -> pa.Table:
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return pa.Table.from_pandas(data, preserve_index=False)
    if isinstance(data, Mapping):
        return pa.table({str(name): _array(values) for name, values in data.items()})
    if hasattr(data, "__arrow_c_stream__"):  # Arrow's own tables, Polars and others
        return pa.table(data)
    raise DataError(f"data of type {type(data).__module__}.{type(data).__qualname__}: {EXPECTED}")
