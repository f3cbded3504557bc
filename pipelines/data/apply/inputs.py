"""Inputs of a task: the examples of a dataset, or the codes that `encode` wrote.

Shapes: N rows of a row group, L latent, K conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.data.apply.manifests import Columns, read_manifest
from vae.data.conditions import known_conditions, read_conditions
from vae.data.manifest import Manifest, Shard
from vae.data.parquet import Dataset
from vae.data.rows import holds_gaps, rows_of
from vae.data.transforms import transform_of
from vae.errors import CorruptData, DataError
from vae.model import VAE
from vae.storage import locate

CODE, CONDITION = "mean", "condition"


@dataclass(frozen=True)
class Group:
    """One row group of the input."""

    values: NDArray[Any]
    """Values as a dataset of the model's schema holds them, [N,*shape], or latents [N,L]."""
    conditions: NDArray[np.float32] | None
    """Conditions of the rows by the model's codes, [N,K]; None where the input does not have them."""
    table: pa.Table
    """Rows as they are stored."""
    labels: NDArray[np.int64] | None = None
    """Class indices, [N]; None for unlabelled data."""
    strange: NDArray[np.bool_] | None = None
    """Whether a row has a category that the model lacks, which then counts as missing, [N]; None for no row."""


class Examples:
    """A dataset as the examples of a model."""

    def __init__(self, dataset: Dataset, model: VAE) -> None:
        self.dataset = dataset
        self.known = model.examples
        self.told = model.conditions

    @property
    def manifest(self) -> Manifest:
        """Manifest of the dataset."""
        return self.dataset.manifest

    def row_groups(self, split: str) -> list[tuple[int, int]]:
        """Returns the row groups of a split; see `Dataset.row_groups`."""
        return self.dataset.row_groups(split)

    def read(self, split: str, group: int) -> Group:
        """Reads one row group.

        Raises:
            CorruptData: If it is not what the manifest says.
            DataError: If a row lacks a condition of the model.
        """
        table, data = self.dataset.read_group(split, group), self.manifest.example
        rows = rows_of(table, data, slice(0, table.num_rows))
        transform = transform_of(self.known)
        values, strange_N = transform.aligned(rows.values, data), None
        if holds_gaps(values):
            strange_N = np.isnan(values).sum(1) > np.isnan(rows.values).sum(1)
        conditions_NK = known_conditions(self.told, data, rows.labels, rows.attributes)
        if conditions_NK is not None and (missing_K := np.isnan(conditions_NK).sum(0)).any():
            number = int(missing_K.argmax())
            raise DataError(
                f"{self.dataset.uri}: {missing_K[number]} of {len(values)} rows in row group {group} of {split} have no "
                f"{self.told[number].name!r}, which the model is told; give one for all with --param condition=…"
            )
        return Group(values.reshape(-1, *self.known.shape), conditions_NK, table, rows.labels, strange_N)


class Codes:
    """Latents that `betaline apply encode` wrote, to decode."""

    def __init__(self, uri: str, manifest: Columns, model: VAE) -> None:
        self.folder = locate(uri)
        self.manifest = manifest
        self.latent_dim = model.config.latent_dim
        self.told = model.conditions

    @classmethod
    def open(cls, uri: str, model: VAE) -> Codes:
        """Opens a folder of codes.

        Raises:
            DataError: If it holds none, or codes of another length.
        """
        manifest = read_manifest(locate(uri))
        expected = f"fixed_size_list<item: float>[{model.config.latent_dim}]"
        if not isinstance(manifest, Columns):
            raise DataError(f"task decode: {uri} holds no codes; give the OUTPUT of `betaline apply encode`")
        stored = manifest.columns.get(CODE, "no such column").replace("element:", "item:").replace(" not null", "")
        if stored != expected:
            raise DataError(f"task decode: {uri}: column {CODE!r}: expected {expected}, found {stored}")
        return cls(uri, manifest, model)

    def row_groups(self, split: str) -> list[tuple[int, int]]:
        """Returns the rows of each file of a split; see `Dataset.row_groups`."""
        ends = np.cumsum([0, *(shard.rows for shard in self._shards(split))])
        return [(int(start), int(stop)) for start, stop in pairwise(ends)]

    def read(self, split: str, group: int) -> Group:
        """Reads one file.

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
        conditions_NK = None
        if CONDITION in table.column_names and self.told:
            texts = [str(text) for text in table.column(CONDITION).to_pylist()]
            conditions_NK = read_conditions(texts, self.told, len(texts), f"{place.uri}, column {CONDITION!r}")
        return Group(values, conditions_NK, table)

    def _shards(self, split: str) -> Sequence[Shard]:
        return self.manifest.splits.get(split, ())  # pyright: ignore[reportCallIssue, reportArgumentType]
