"""Checks that a dataset's shards are what its manifest says."""

from __future__ import annotations

import threading
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from vae.data.manifest import Manifest, Shard
from vae.data.transforms import transform_of
from vae.errors import CorruptData
from vae.storage import Location, mark_of, sha256_of

# What a row group may hold beside its pixels: labels, source rows, page headers.
_ROW_OVERHEAD_BYTES, _GROUP_OVERHEAD_BYTES = 16, 1 << 16


class Integrity:
    """The checks of one dataset's shards, from several threads.

    Args:
        location: Folder of the dataset.
        manifest: Its manifest.
    """

    def __init__(self, location: Location, manifest: Manifest) -> None:
        self.manifest = manifest
        self._location = location
        self._footers: dict[str, pq.FileMetaData] = {}
        self._lock = threading.Lock()
        self._locks = {shard.path: threading.Lock() for split in manifest.splits.values() for shard in split}
        self._checked: set[str] = set()

    def checked_footer(self, shard: Shard, file: pa.NativeFile) -> pq.FileMetaData:
        """Returns the footer of a shard, whose size and row groups are what the manifest says, or raises CorruptData."""
        with self._lock:
            footer = self._footers.get(shard.path)
        if footer is None:
            size = file.size()
            if size != shard.bytes:
                raise CorruptData(self._size_fault(shard, size) + self.advice)
            footer = pq.read_metadata(file)
            self._check_footer(shard, footer)
            with self._lock:
                self._footers[shard.path] = footer
        return footer

    def _check_footer(self, shard: Shard, footer: pq.FileMetaData) -> None:
        # Before any page is read: a small file can unfold to far more memory than the manifest promises.
        path = (self._location / shard.path).uri
        found = tuple(footer.row_group(index).num_rows for index in range(footer.num_row_groups))
        if found != shard.row_groups:
            raise CorruptData(f"{path}: expected row groups of {shard.row_groups} rows, found {found}{self.advice}")
        value_bytes = transform_of(self.manifest.example).stored_row_bytes
        if value_bytes is None:
            return
        row_bytes = value_bytes + 4 * len(self.manifest.attributes) + _ROW_OVERHEAD_BYTES
        group_bytes = _GROUP_OVERHEAD_BYTES * (1 + len(self.manifest.attributes))
        for index, rows in enumerate(found):
            allowed = rows * row_bytes + group_bytes
            size = footer.row_group(index).total_byte_size
            if size > allowed:
                raise CorruptData(
                    f"{path}: row group {index} unfolds to {size:,} bytes, expected at most {allowed:,}{self.advice}"
                )

    def check_once(self, shard: Shard) -> None:
        """Checks a shard that this machine has not checked since it was last written."""
        with self._locks[shard.path]:
            if shard.path in self._checked:
                return
            mark = mark_of(self._location / shard.path, shard.sha256)
            if mark is None or not mark.exists():
                if fault := self.find_fault(shard):
                    raise CorruptData(fault + self.advice)
                if mark is not None:
                    with suppress(OSError):  # without room the next process hashes again
                        mark.touch()
            self._checked.add(shard.path)

    def find_fault(self, shard: Shard) -> str | None:
        """Returns what is wrong with a shard's size or SHA-256; None if it is what the manifest says."""
        fault = self.find_size_fault(shard)
        if fault:
            return fault
        location = self._location / shard.path
        found = sha256_of(location)
        return None if found == shard.sha256 else f"{location.uri}: expected SHA-256 {shard.sha256}, found {found}"

    def find_size_fault(self, shard: Shard) -> str | None:
        """Returns what is wrong with a shard's size; None if it is what the manifest says."""
        info = (self._location / shard.path).info()
        if info.type != fs.FileType.File:
            return f"{(self._location / shard.path).uri} is missing"
        return None if info.size == shard.bytes else self._size_fault(shard, info.size)

    def _size_fault(self, shard: Shard, found: int) -> str:
        return f"{(self._location / shard.path).uri}: expected {shard.bytes:,} bytes, found {found:,}"

    @property
    def advice(self) -> str:
        """End of a message that says what to do about a damaged dataset."""
        return f". Remove the folder {self._location.uri} and run the ingest again"
