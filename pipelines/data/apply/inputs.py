"""What a task is given: the examples of a dataset, or the codes that `encode` left.

Shapes: N rows of a row group, L latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.data.apply.manifests import Columns, read_manifest
from vae.data.conditions import write_condition
from vae.data.manifest import Manifest, Shard
from vae.data.parquet import Dataset
from vae.data.rows import Rows, rows_of
from vae.data.schema import Column
from vae.data.tables import write_rows
from vae.errors import CorruptData, DataError
from vae.storage import locate

CODE, CONDITION = "mean", "condition"


@dataclass(frozen=True)
class Group:
    """One row group of the input."""

    values: Any
    """As `predict` takes them: uint8 [N,C,H,W], a data frame, or latents [N,L]."""
    conditions: Sequence[str] | None
    """What the model is told of each row, [N]; None where the input does not say."""
    table: pa.Table
    """As it is stored."""
    labels: NDArray[np.int64] | None

    def take(self, part: slice) -> Any:
        """The values of some rows."""
        return self.values.iloc[part] if isinstance(self.values, pd.DataFrame) else self.values[part]


class Examples:
    """A dataset, with what its rows say to a model that is told something."""

    def __init__(self, dataset: Dataset, conditions: Sequence[Column]) -> None:
        self.dataset = dataset
        self.conditions = conditions

    @property
    def manifest(self) -> Manifest:
        """Of the dataset."""
        return self.dataset.manifest

    def row_groups(self, split: str) -> list[tuple[int, int]]:
        """See `Dataset.row_groups`."""
        return self.dataset.row_groups(split)

    def read(self, split: str, group: int) -> Group:
        """One row group.

        Raises:
            CorruptData: If it is not what the manifest says.
            DataError: If what the model has to be told of a row is missing.
        """
        table = self.dataset.read_group(split, group)
        rows = rows_of(table, self.manifest.example, slice(0, table.num_rows))
        example = self.manifest.example
        if example.columns is None:
            values = rows.values.reshape(-1, *example.shape)
        else:
            columns = [Column(column.name, column.categories) for column in example.columns]
            values = write_rows(cast(NDArray[np.float64], rows.values), columns)
        return Group(values, self._conditions(rows, split, group), table, rows.labels)

    def _conditions(self, rows: Rows, split: str, group: int) -> list[str] | None:
        if not self.conditions:
            return None
        names = [column.name for column in self.manifest.attributes]
        values = []
        for column in self.conditions:
            found = rows.labels if column.name == "class" else None
            if found is None and rows.attributes is not None and column.name in names:
                found = rows.attributes[:, names.index(column.name)]
            if found is None:
                return None  # the plan has seen to it that nobody asks
            if missing := int(np.isnan(found).sum()):
                raise DataError(
                    f"{self.dataset.uri}: {missing} of {len(found)} rows in row group {group} of {split} have no "
                    f"{column.name!r}, which the model is told; give one for all with --param condition=…"
                )
            values.append(found)
        return [write_condition(self.conditions, row) for row in np.stack(values, axis=1)]


class Codes:
    """What `betaline apply encode` left: latents to decode."""

    def __init__(self, uri: str, manifest: Columns, latent_dim: int) -> None:
        self.folder = locate(uri)
        self.manifest = manifest
        self.latent_dim = latent_dim

    @classmethod
    def open(cls, uri: str, latent_dim: int) -> Codes:
        """Opens such a folder.

        Raises:
            DataError: If there is none, or its codes are of another length.
        """
        manifest = read_manifest(locate(uri))
        expected = f"fixed_size_list<item: float>[{latent_dim}]"
        if not isinstance(manifest, Columns):
            raise DataError(f"task decode: {uri} holds no codes; give the OUTPUT of `betaline apply encode`")
        found = manifest.columns.get(CODE, "no such column").replace("element:", "item:").replace(" not null", "")
        if found != expected:
            raise DataError(f"task decode: {uri}: column {CODE!r}: expected {expected}, found {found}")
        return cls(uri, manifest, latent_dim)

    def row_groups(self, split: str) -> list[tuple[int, int]]:
        """See `Dataset.row_groups`; every file is one."""
        ends = np.cumsum([0, *(shard.rows for shard in self._shards(split))])
        return [(int(start), int(stop)) for start, stop in pairwise(ends)]

    def read(self, split: str, group: int) -> Group:
        """One file.

        Raises:
            CorruptData: If it is not what the manifest says.
        """
        shard = self._shards(split)[group]
        place = self.folder / shard.path
        try:
            with place.filesystem.open_input_file(place.path) as file:
                table = pq.ParquetFile(file, page_checksum_verification=True).read(use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise CorruptData(f"{place.uri} cannot be read: {error}. Remove the folder and encode again") from error
        if table.num_rows != shard.rows:
            raise CorruptData(f"{place.uri}: expected {shard.rows} rows, found {table.num_rows}")
        codes = table.column(CODE).combine_chunks()
        flat = codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes
        values = flat.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.latent_dim)
        conditions = table.column(CONDITION).to_pylist() if CONDITION in table.column_names else None
        return Group(values, conditions, table, None)

    def _shards(self, split: str) -> Sequence[Shard]:
        return self.manifest.splits.get(split, ())  # pyright: ignore[reportCallIssue, reportArgumentType]
