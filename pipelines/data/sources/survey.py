"""The interface of a source: a survey of all its examples, and a reader of some of them."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs

from pipelines.data.sources.config import BUILT_IN, IngestConfig
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.tables.columns import Understood
from pipelines.data.sources.walking import walk
from vae import progress
from vae.data.manifest import SourceFile
from vae.data.schema import Column, ExampleSpec
from vae.errors import DataError
from vae.storage import Location, locate

_HASHED_AT_ONCE = 4 << 20
"""Bytes between two reports on the hash of a file."""
HUB = "hf://"
"""Beginning of the address of a dataset on the Hugging Face Hub."""


@dataclass(frozen=True)
class Block:
    """Good examples among the rows that were asked for, in their order, and the problems of the others."""

    kept: NDArray[np.int64]
    """Source rows of the examples."""
    examples: NDArray[np.uint8] | pa.Table
    """Pixels of shape (rows, channels · height · width), or the columns of a table."""
    problems: tuple[Problem, ...] = ()
    """Problems of the rows that are left out."""


class Reader(Protocol):
    """A reader of examples by their position in the source. Picklable: it works in other processes."""

    def read(self, rows: NDArray[np.int64]) -> Block:
        """Reads the examples at some positions.

        Raises:
            DataError: If the source has changed since the survey.
        """
        ...


@dataclass(frozen=True)
class Cost:
    """Expected cost of an ingest, each within a factor of about two."""

    memory_bytes: int
    """Memory of a process that surveys the source or writes a part of the dataset, without mapped files."""
    temporary_bytes: int
    """Files in the folder for temporary ones while such a process runs."""
    stored_bytes: int
    """Size of the dataset."""


@dataclass(frozen=True)
class Survey:
    """Facts of a source that are known before its examples are decoded."""

    files: tuple[SourceFile, ...]
    example: ExampleSpec
    num_rows: int
    reader: Reader
    classes: tuple[str, ...] | None = None
    labels: NDArray[np.int32] | None = None
    """Indices into classes, shape (num_rows,)."""
    attributes: tuple[Column, ...] = ()
    """Attributes of every image beside its class."""
    attribute_values: NDArray[np.float32] | None = None
    """Numbers, and codes of categories, shape (num_rows, attributes); NaN is missing."""
    own_splits: NDArray[np.uint8] | None = None
    """The source's own split of each row, as an index into SPLITS, shape (num_rows,)."""
    excluded: NDArray[np.bool_] | None = None
    """Rows that are left out, most of them because they are bad, shape (num_rows,)."""
    groups: NDArray[np.int32] | None = None
    """Group of each row, shape (num_rows,). Rows of a group are read together and shuffled among themselves."""
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """Messages for the user: what was left aside, and why."""
    reading: tuple[str, ...] = ()
    """Ways of reading that change the examples, and that neither the files nor the configuration tell."""
    understood: tuple[Understood, ...] = ()
    """Columns of a table as they were understood, with those that are left out."""
    cost: Cost | None = None
    """Expected cost of the ingest of a table; None for images."""

    @property
    def schema(self) -> ExampleSpec:
        """Schema of the examples with their classes and attributes."""
        return replace(self.example, classes=self.classes, attributes=self.attributes)


@dataclass(frozen=True)
class Listing:
    """The files of a source, in the order of their paths."""

    root: str
    """URI of the source's folder, or of the folder of a single file."""
    paths: tuple[str, ...]
    """Paths relative to the root."""
    sizes: tuple[int, ...]
    """Sizes in bytes."""
    notes: tuple[str, ...] = ()
    """Sentences on what is in the folder and not in the list."""

    def only(self, paths: Collection[str]) -> Listing:
        """Returns the listing of some of the files."""
        kept = set(paths)
        entries = [entry for entry in zip(self.paths, self.sizes, strict=True) if entry[0] in kept]
        return replace(self, paths=tuple(path for path, _ in entries), sizes=tuple(size for _, size in entries))

    def location(self, path: str) -> Location:
        """Returns the location of one of the files."""
        return locate(self.root) / path

    def matching(self, suffixes: Sequence[str]) -> list[str]:
        """Returns the paths that end in one of the suffixes, in upper or lower case."""
        return [path for path in self.paths if path.lower().endswith(tuple(suffixes))]

    def read(self, path: str) -> tuple[bytes, SourceFile]:
        """Reads one of the files; returns its bytes and its record."""
        data = self.location(path).read()
        return data, self._record(path, io.BytesIO(data))

    def _record(self, path: str, file: BinaryIO) -> SourceFile:
        """Returns the record of a file, whose whole content it hashes."""
        file.seek(0)
        digest, size = hashlib.sha256(), 0
        progress.report("reading and hashing", self._offsets[path], self._num_bytes, "bytes")
        while piece := file.read(_HASHED_AT_ONCE):
            digest.update(piece)
            size += len(piece)
            progress.report("reading and hashing", self._offsets[path] + size, self._num_bytes, "bytes")
        return SourceFile(path=path, bytes=size, sha256=digest.hexdigest())

    @cached_property
    def _offsets(self) -> dict[str, int]:
        return dict(zip(self.paths, accumulate(self.sizes, initial=0), strict=False))

    @cached_property
    def _num_bytes(self) -> int:
        return sum(self.sizes)

    @contextmanager
    def opened(self, path: str, sha256: str | None = None) -> Iterator[tuple[BinaryIO, SourceFile]]:
        """Opens one of the files; yields it and its record. A file elsewhere is copied to this machine first.

        Args:
            path: Path of the file.
            sha256: Digest that it must have; None for any.

        Raises:
            DataError: If its bytes are others, or change while it is open.
        """
        location = self.location(path)
        with _local(location) as file:
            record = self._record(path, file)
            if sha256 not in (None, record.sha256):
                raise changed_source(location.uri, str(sha256), record.sha256)
            before = os.fstat(file.fileno())
            file.seek(0)
            yield file, record
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise changed_source(location.uri, record.sha256, self._record(path, file).sha256)


@contextmanager
def _local(location: Location) -> Iterator[BinaryIO]:
    """Opens a file, or a temporary copy of one that is not on this machine."""
    if location.is_local:
        with open(location.path, "rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file, location.filesystem.open_input_stream(location.path) as stream:
        shutil.copyfileobj(stream, file, 1 << 20)
        file.flush()
        yield file


def list_source(uri: str) -> Listing:
    """Lists a source's files, without hidden ones.

    Raises:
        DataError: If the source does not exist, or a name is not UTF-8.
        OSError: If a folder cannot be read.
    """
    location = locate(uri)
    info = location.info()
    if info.type == fs.FileType.NotFound:
        is_link = location.is_local and os.path.islink(location.path)
        target = f", a symbolic link to {os.readlink(location.path)}" if is_link else ""
        names = f"a file, a folder, or one of {', '.join(BUILT_IN)}"
        advice = (
            "hf://datasets/USER/NAME; log in to read a private one: hf auth login" if uri.startswith(HUB) else names
        )
        raise DataError(f"no such source: {uri}{target}. Give {advice}")
    if info.type == fs.FileType.File:
        return Listing(location.parent.uri, (info.base_name,), (info.size,))
    if location.is_local:
        files, notes = walk(location.path)
        return Listing(location.uri, tuple(path for path, _ in files), tuple(size for _, size in files), tuple(notes))
    start = len(location.path.rstrip("/")) + 1
    entries = [entry for entry in location.list(recursive=True) if entry.type == fs.FileType.File]
    files = sorted((entry.path[start:], entry.size) for entry in entries)
    shown = [(path, size) for path, size in files if not any(part.startswith(".") for part in path.split("/"))]
    return Listing(location.uri, tuple(path for path, _ in shown), tuple(size for _, size in shown))


def read_unchanged(listing: Listing, file: SourceFile) -> bytes:
    """Reads a file again after the survey.

    Raises:
        DataError: If its bytes have changed.
    """
    data, now = listing.read(file.path)
    if now.sha256 != file.sha256:
        raise changed_source(listing.location(file.path).uri, file.sha256, now.sha256)
    return data


def changed_source(uri: str, expected: str, found: str) -> DataError:
    """Returns the error for a file that changed between the survey and the reading."""
    return DataError(
        f"{uri} changed while it was ingested: expected SHA-256 {expected}, found {found}. "
        "Run the ingest again once the source is at rest"
    )


def source_file(path: str, data: bytes) -> SourceFile:
    """Returns the record of a file."""
    return SourceFile(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


class Source(NamedTuple):
    """A kind of source: one file of this package, with one line in `SOURCES`."""

    name: str
    """Kind of files in messages, in the plural."""
    claims: Callable[[IngestConfig, Listing], Sequence[str]]
    """Returns the paths of the files that are of this kind."""
    survey: Callable[[IngestConfig, Listing], Survey]
    """Surveys a listing of files that it claims.

    Raises:
        DataError: If the source cannot be ingested, even without its bad examples.
    """
