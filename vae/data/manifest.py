"""The manifest of a dataset: what its shards hold, where they came from, and how to tell that they are whole.

A dataset is a folder of Parquet shards and one `manifest.json`, written last. Readers open only what the
manifest names. The folder's name is the dataset's identity, derived from its content: see
`derive_dataset_id`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

# Part of every dataset's identity: raise it when the same source and configuration would give other bytes.
FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageSpec(_Record):
    """Every example is an image of the same shape."""

    kind: Literal["image"] = "image"
    channels: PositiveInt
    height: PositiveInt
    width: PositiveInt
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["CHW"] = "CHW"

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def num_values(self) -> int:
        """Pixels times channels."""
        return self.channels * self.height * self.width

    @property
    def row_bytes(self) -> int:
        """Bytes of one image's pixels."""
        return self.num_values


class Column(_Record):
    """One column of a table, or an attribute that comes beside an image."""

    name: str
    kind: Literal["numeric", "categorical"]
    dtype: str
    """The Arrow type, for example `double` or `string`; of an attribute in its source."""
    categories: tuple[str, ...] | None = None
    """The sorted values of a categorical column, as text."""


class TableSpec(_Record):
    """Every example is a row of a table. Null means missing."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(columns,)."""
        return (len(self.columns),)

    @property
    def num_values(self) -> int:
        """Columns."""
        return len(self.columns)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's float64 values."""
        return 8 * self.num_values


class Shard(_Record):
    """One Parquet file of a split."""

    path: str
    """The file's name inside the dataset's folder."""
    rows: NonNegativeInt
    bytes: NonNegativeInt
    sha256: Digest
    row_groups: tuple[int, ...]
    """Rows in each row group, in order."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        # A manifest may come from elsewhere: it must not be able to name a file outside its folder.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.path):
            raise ValueError(f"a shard's path must be a plain file name, got {self.path!r}")
        if sum(self.row_groups) != self.rows:
            raise ValueError(f"{self.path}: row groups hold {sum(self.row_groups)} rows, expected {self.rows}")
        return self


class SourceFile(_Record):
    """One file the dataset was made from."""

    path: str
    """Relative to the source."""
    bytes: NonNegativeInt
    sha256: Digest


class SourceListing(_Record):
    """A file of the dataset that lists its sources, where they are too many for the manifest."""

    path: str
    files: NonNegativeInt
    sha256: Digest


class Manifest(_Record):
    """What a dataset holds. See the module's docstring."""

    format_version: PositiveInt
    dataset_id: Digest
    name: str
    created_at: AwareDatetime
    example: ImageSpec | TableSpec = Field(discriminator="kind")
    classes: tuple[str, ...] | None
    """The names the `label` column indexes; None where the source has no labels."""
    attributes: tuple[Column, ...] = ()
    """What is known of every image beside its class; stored as float32, categories as codes, NaN where missing."""
    splits: dict[SplitName, tuple[Shard, ...]]
    class_counts: dict[SplitName, tuple[int, ...]]
    """Examples of each class in each split, in the order of `classes`; empty where there are none."""
    sources: tuple[SourceFile, ...]
    """The source files; empty where `source_listing` names a file that lists them."""
    source_listing: SourceListing | None = None
    ingest: dict[str, Any]
    """The configuration that made this dataset."""
    schema_fingerprint: Digest
    """SHA-256 of the example's specification, the classes and the attributes: two datasets with the same one fit the same
    model."""
    rejected: NonNegativeInt
    """Examples of the source that were refused and put in quarantine."""

    @classmethod
    def made_now(
        cls,
        *,
        example: ImageSpec | TableSpec,
        classes: tuple[str, ...] | None,
        attributes: tuple[Column, ...] = (),
        **fields: Any,
    ) -> Self:
        """One of this format and moment, with the fingerprint of its schema; what `fields` leave out is empty."""
        empty: dict[str, Any] = {"class_counts": {}, "sources": (), "ingest": {}, "rejected": 0}
        return cls(
            format_version=FORMAT_VERSION,
            created_at=datetime.now(UTC),
            example=example,
            classes=classes,
            attributes=attributes,
            schema_fingerprint=derive_schema_fingerprint(example, classes, attributes),
            **(empty | fields),
        )

    @property
    def num_rows(self) -> dict[SplitName, int]:
        """Rows in each split."""
        return {name: sum(shard.rows for shard in shards) for name, shards in self.splits.items()}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [shard.path for shards in self.splits.values() for shard in shards]
        if len(set(names)) != len(names):
            raise ValueError("a shard is named twice")
        if self.schema_fingerprint != derive_schema_fingerprint(self.example, self.classes, self.attributes):
            raise ValueError("schema_fingerprint does not fit example, classes and attributes")
        return self


def derive_schema_fingerprint(
    example: ImageSpec | TableSpec, classes: tuple[str, ...] | None, attributes: tuple[Column, ...] = ()
) -> str:
    """SHA-256 over the example's specification, the classes and the attributes, as hex."""
    schema: dict[str, Any] = {"example": example.model_dump(mode="json"), "classes": classes}
    if attributes:  # what has none is called as it was before there were any
        schema["attributes"] = [column.model_dump(mode="json") for column in attributes]
    return _digest(schema)


def derive_dataset_id(sources: Iterable[str], ingest: Mapping[str, Any]) -> str:
    """SHA-256 over the sorted source digests, the ingest configuration and the format version, as hex.

    Args:
        sources: One line for each source file: its SHA-256, and its path within the source where that carries
            meaning (a class folder, a split's file name). Never the place of the source itself.
        ingest: The configuration, without the dataset's name and the source's place.
    """
    return _digest({"format": FORMAT_VERSION, "ingest": dict(ingest), "sources": sorted(sources)})


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
