"""The manifest of a dataset: the contents of its shards, their sources and their checksums.

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

from pydantic import (
    AwareDatetime,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from vae.data.schema import Column, ExampleSpec, Record, StoredSchema, stored_schema

# Part of every dataset's identity: raise it when the same source and configuration would give other bytes.
FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Shard(Record):
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


class SourceFile(Record):
    """One file the dataset was made from."""

    path: str
    """Path relative to the source."""
    bytes: NonNegativeInt
    sha256: Digest


class SourceListing(Record):
    """A file of the dataset that lists its sources, where they are too many for the manifest."""

    path: str
    files: NonNegativeInt
    sha256: Digest


class Manifest(Record):
    """Contents and origin of a dataset."""

    format_version: PositiveInt
    dataset_id: Digest
    name: str
    created_at: AwareDatetime
    example: ExampleSpec
    """Schema of the examples. JSON holds its classes and attributes beside it. Attributes are stored as float32, categories
    as codes, NaN where missing."""
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
    def made_now(cls, *, example: ExampleSpec, **fields: Any) -> Self:
        """Returns a manifest of this format and moment, with the schema's fingerprint; fields not given are empty."""
        empty: dict[str, Any] = {"class_counts": {}, "sources": (), "ingest": {}, "rejected": 0}
        return cls(
            format_version=FORMAT_VERSION,
            created_at=datetime.now(UTC),
            example=example,
            schema_fingerprint=derive_schema_fingerprint(example),
            **(empty | fields),
        )

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names that the `label` column indexes; None for unlabelled data."""
        return self.example.classes

    @property
    def attributes(self) -> tuple[Column, ...]:
        """Attributes of every image beside its class."""
        return self.example.attributes

    @property
    def num_rows(self) -> dict[SplitName, int]:
        """Rows in each split."""
        return {name: sum(shard.rows for shard in shards) for name, shards in self.splits.items()}

    @model_validator(mode="before")
    @classmethod
    def _read_example(cls, facts: Any) -> Any:
        if isinstance(facts, Mapping) and isinstance(facts.get("example"), Mapping):
            schema = {name: facts[name] for name in StoredSchema.model_fields if name in facts}
            rest = {name: value for name, value in facts.items() if name not in schema}
            return rest | {"example": StoredSchema(**schema).spec()}
        return facts

    @model_serializer(mode="wrap")
    def _write_example(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stored: dict[str, Any] = {}
        for name, value in write(self).items():
            stored |= stored_schema(self.example) if name == "example" else {name: value}
        return stored

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [shard.path for shards in self.splits.values() for shard in shards]
        if len(set(names)) != len(names):
            raise ValueError("a shard is named twice")
        if self.schema_fingerprint != derive_schema_fingerprint(self.example):
            raise ValueError("schema_fingerprint does not fit example, classes and attributes")
        return self


def derive_schema_fingerprint(example: ExampleSpec) -> str:
    """Returns the SHA-256 of a schema as hex: of the examples, the classes and the attributes.

    Types that do not follow from the stored values take no part: a model fits data whose columns were given other ones.
    """
    schema = stored_schema(example)
    for column in (*schema["example"].get("columns", ()), *schema["attributes"]):
        column.pop("type", None)
    if not example.attributes:  # datasets without attributes keep the fingerprint of the format without them
        del schema["attributes"]
    return _digest(schema)


def derive_dataset_id(sources: Iterable[str], ingest: Mapping[str, Any]) -> str:
    """Returns the SHA-256 over the sorted source digests, the ingest configuration and the format version, as hex.

    Args:
        sources: One line for each source file: its SHA-256, and its path within the source where that carries
            meaning (a class folder, a split's file name). Never the place of the source itself.
        ingest: The configuration, without the dataset's name and the source's place.
    """
    return _digest({"format": FORMAT_VERSION, "ingest": dict(ingest), "sources": sorted(sources)})


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
