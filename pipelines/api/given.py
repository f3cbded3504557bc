"""Data that a caller has at hand, as a dataset: it is ingested, unless the same data were before."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipelines.api.wording import reading_in_python
from vae.config import parse
from vae.data.catalog import resolve
from vae.data.manifest import MANIFEST_NAME
from vae.data.parquet import Dataset
from vae.errors import DataError
from vae.storage import locate

MOST_DENSE_BYTES = 1 << 30
"""Largest size of a sparse matrix as columns."""
THREADS = 4
"""Threads that decode and write chunks."""
EXPECTED = (
    "expected an array or tensor of images (N, H, W), (N, H, W, C) or (N, C, H, W) or of rows (N, D), a pair of one and "
    "its labels, a data frame, an Arrow table, AnnData, a dataset with __len__ and __getitem__, an iterable of items, or "
    "the path of a source or dataset"
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
    with reading_in_python():
        return Dataset.open(_uri(data, name, home, reading), checks_shards=True)


def _uri(data: Any, name: str, home: str, reading: Mapping[str, Any]) -> str:
    if isinstance(data, Dataset):
        return data.uri
    if isinstance(data, str | Path):
        return _uri_of(str(data), name, home, reading)
    with TemporaryDirectory(prefix="betaline-") as folder:
        if (source := _written(data, Path(folder), name)) is not None:
            return _ingested(source, name, home, reading)
    from pipelines.data.sources.items import given

    with given(data) as source:
        return _ingested(source, name, home, reading)


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


def _written(data: Any, folder: Path, name: str) -> str | None:
    """Writes values in memory to a file of a kind that ingest reads; returns its path, None for a dataset of items."""
    if isinstance(data, tuple) and len(data) == 2:
        data = {"images": data[0], "labels": data[1]}
    if isinstance(data, torch.Tensor | np.ndarray):
        data = {"images": data}
    if isinstance(data, Mapping) and any(np.ndim(values) > 1 for values in data.values()):
        path = folder / f"{name}.npz"
        np.savez(path, allow_pickle=False, **{key: _array(values) for key, values in data.items()})
        return str(path)
    table = _table(data)
    if table is None:
        return None
    path = folder / f"{name}.parquet"
    pq.write_table(table, path)
    return str(path)


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _table(data: Any) -> pa.Table | None:
    """Returns data that have columns as a table; None for a dataset of items."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return pa.Table.from_pandas(data, preserve_index=False)
    if isinstance(data, Mapping):
        return pa.table({str(name): _array(values) for name, values in data.items()})
    if hasattr(data, "__arrow_c_stream__"):  # Arrow's own tables, Polars and others
        return pa.table(data)
    if hasattr(data, "X") and hasattr(data, "var_names"):
        return _columns_of(data)
    if hasattr(data, "with_format") and hasattr(data, "features") and hasattr(data, "__len__"):
        return _plain_columns(data)
    if inspect.isroutine(data) or inspect.isclass(data) or hasattr(data, "__getitem__") or hasattr(data, "__iter__"):
        return None
    raise DataError(f"data of type {type(data).__module__}.{type(data).__qualname__}: {EXPECTED}")


def _columns_of(annotated: Any) -> pa.Table:
    """Returns X of AnnData as columns by the names of its variables."""
    values, names = annotated.X, [*map(str, annotated.var_names)]
    if hasattr(values, "toarray"):
        size = values.shape[0] * values.shape[1] * values.dtype.itemsize
        if size > MOST_DENSE_BYTES:
            raise DataError(
                f"AnnData: the sparse X of {values.shape[0]:,} × {values.shape[1]:,} takes {size:,} bytes as columns, "
                f"above the limit of {MOST_DENSE_BYTES:,}. Choose variables first: data[:, data.var.highly_variable]"
            )
        values = values.toarray()
    return pa.table(dict(zip(names, map(np.ascontiguousarray, np.asarray(values).T), strict=True)))


def _plain_columns(data: Any) -> pa.Table | None:
    """Returns a `datasets.Dataset` without images as a table, with names in place of the numbers of classes."""
    kinds = {name: type(feature).__name__ for name, feature in data.features.items()}
    if {*kinds.values()} - {"Value", "ClassLabel"}:
        return None
    table: pa.Table = data.with_format("arrow")[:]
    for place, (name, kind) in enumerate(kinds.items()):
        if kind == "ClassLabel":
            table = table.set_column(
                place, name, pa.array(data.features[name].names).take(table[name].combine_chunks())
            )
    return table
