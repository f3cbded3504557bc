"""What every source answers: a survey of all its examples, and a reader of some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs

from pipelines.data.sources.config import BUILT_IN, IngestConfig
from pipelines.data.sources.problems import Problem
from vae.data.manifest import Column, ImageSpec, SourceFile, TableSpec
from vae.errors import DataError
from vae.storage import Location, locate

# Requests in flight while listing and hashing: reads wait more than they compute.
_NUM_READERS = 8


@dataclass(frozen=True)
class Block:
    """Some examples of a source, in the order they were asked for, without the ones that are bad."""

    kept: NDArray[np.int64]
    """The source rows that are here."""
    examples: NDArray[np.uint8] | pa.Table
    """Pixels of shape (rows, channels · height · width), or the columns of a table."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the rows that are not."""


class Reader(Protocol):
    """Reads examples by their position in the source's listing. Picklable: it works in another process."""

    def read(self, rows: NDArray[np.int64]) -> Block:
        """The examples at these positions.

        Raises:
            DataError: If the source is not what was surveyed.
        """
        ...


@dataclass(frozen=True)
class Survey:
    """All there is to know of a source before its examples are decoded."""

    files: tuple[SourceFile, ...]
    example: ImageSpec | TableSpec
    num_rows: int
    reader: Reader
    classes: tuple[str, ...] | None = None
    labels: NDArray[np.int32] | None = None
    """Shape (num_rows,): indices into classes."""
    attributes: tuple[Column, ...] = ()
    """What is known of every image beside its class."""
    attribute_values: NDArray[np.float32] | None = None
    """Shape (num_rows, attributes): numbers, and categories as codes; NaN where missing."""
    own_splits: NDArray[np.uint8] | None = None
    """Shape (num_rows,): the source's own split of each row, as an index into SPLITS."""
    excluded: NDArray[np.bool_] | None = None
    """Shape (num_rows,): rows that are left out, most for being bad."""
    groups: NDArray[np.int32] | None = None
    """Shape (num_rows,): rows of one group are read together, and shuffled only among themselves."""
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What the user should know: what was left aside, and why."""


@dataclass(frozen=True)
class Listing:
    """The files of a source, in the order of their paths."""

    root: str
    """The URI of the folder, or of the folder a single file is in."""
    paths: tuple[str, ...]
    """Relative to the root."""
    sizes: tuple[int, ...]
    single: bool
    """Whether the source is one file rather than a folder."""

    def location(self, path: str) -> Location:
        """Where one of the files is."""
        return locate(self.root) / path

    def matching(self, suffixes: Sequence[str]) -> list[str]:
        """The paths that end in one of the suffixes, whatever their case."""
        return [path for path in self.paths if path.lower().endswith(tuple(suffixes))]


def list_source(uri: str) -> Listing:
    """List a source's files, hidden ones left aside.

    Raises:
        DataError: If there is nothing there.
    """
    location = locate(uri)
    info = location.info()
    if info.type == fs.FileType.NotFound:
        raise DataError(f"no such source: {uri}. Give a file, a folder, or one of {', '.join(BUILT_IN)}")
    if info.type == fs.FileType.File:
        return Listing(location.parent.uri, (info.base_name,), (info.size,), single=True)
    start = len(location.path.rstrip("/")) + 1
    found = sorted(
        (entry.path[start:], entry.size) for entry in location.list(recursive=True) if entry.type == fs.FileType.File
    )
    seen = [(path, size) for path, size in found if not any(part.startswith(".") for part in path.split("/"))]
    return Listing(location.uri, tuple(p for p, _ in seen), tuple(s for _, s in seen), single=False)


def read_files(listing: Listing, paths: Sequence[str]) -> list[bytes]:
    """The bytes of some files."""
    root = locate(listing.root)
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        return list(pool.map(lambda path: (root / path).read(), paths))


def read_unchanged(listing: Listing, file: SourceFile) -> bytes:
    """A file's bytes, if they still are what was surveyed.

    Raises:
        DataError: If they are not.
    """
    data = listing.location(file.path).read()
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise changed_source(listing.location(file.path).uri, file.sha256, found)
    return data


def changed_source(uri: str, expected: str, found: str) -> DataError:
    """The error for a file that changed between the survey and the reading."""
    return DataError(
        f"{uri} changed while it was ingested: expected SHA-256 {expected}, found {found}. "
        "Run the ingest again once the source is at rest"
    )


def source_file(path: str, data: bytes) -> SourceFile:
    """The record of a file."""
    return SourceFile(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


class Source(Protocol):
    """One kind of source: whether it is what a listing holds, and what is in it."""

    @staticmethod
    def claims(listing: Listing) -> bool:
        """Whether the listing is of this kind."""
        ...

    @staticmethod
    def survey(config: IngestConfig, listing: Listing) -> Survey:
        """Look at everything.

        Raises:
            DataError: If the source cannot be ingested whatever is left out.
        """
        ...
