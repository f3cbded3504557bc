"""Reading and writing a dataset's Parquet shards.

Images are one `fixed_size_binary(C·H·W)` column of uint8 pixels, so that a row group is one contiguous block
that becomes a NumPy array without a copy. Pages carry checksums, and the manifest carries each shard's size
and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs
from pydantic import ValidationError

from vae.data.manifest import FORMAT_VERSION, MANIFEST_NAME, SPLITS, ImageSpec, Manifest, Shard, TableSpec
from vae.errors import CorruptData, DataError
from vae.storage import Location, locate, sha256_of, write_whole

IMAGE, LABEL, SOURCE_ROW = "image", "label", "source_row"
ROW_GROUP_BYTES = 4 << 20
ROW_GROUP_ROWS = 8192
# What a row group may hold beside its pixels: labels, source rows, page headers.
_ROW_OVERHEAD_BYTES, _GROUP_OVERHEAD_BYTES = 16, 1 << 16
_READ_BUFFER_BYTES = 1 << 16


class Rows(NamedTuple):
    """A contiguous range of a split's images."""

    pixels: NDArray[np.uint8]
    """Shape (rows, channels · height · width), CHW. May be read-only, where it is a view of what was read."""
    labels: NDArray[np.int64] | None
    """Shape (rows,): indices into the manifest's classes; None where there are none."""


@dataclass(frozen=True)
class _Piece:
    """The part of one row group that a request wants."""

    shard: Shard
    group: int
    skip: int
    rows: int
    position: int
    """Where its first row goes in the answer."""


class Dataset:
    """A published dataset, opened by its manifest. Safe to use from several threads, and picklable."""

    def __init__(self, uri: str, manifest: Manifest) -> None:
        self.uri = uri
        self.manifest = manifest
        self._location = locate(uri)
        self._footers: dict[str, pq.FileMetaData] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return Dataset, (self.uri, self.manifest)

    @classmethod
    def open(cls, uri: str) -> Dataset:
        """Open a dataset's folder.

        Args:
            uri: The folder, as a path or any pyarrow filesystem URI.

        Raises:
            DataError: If there is no manifest.
            CorruptData: If the manifest cannot be read.
        """
        location = locate(uri)
        manifest = location / MANIFEST_NAME
        try:
            text = manifest.read()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(
                f"no dataset at {location.uri}: it has no {MANIFEST_NAME}. Give the folder that `betaline "
                "ingest` printed, or run the ingest again: a dataset is published only once it is complete"
            ) from error
        return cls(location.uri, _parse_manifest(text, manifest.uri))

    def num_rows(self, split: str) -> int:
        """Rows in a split; 0 where the dataset has no such split."""
        return sum(shard.rows for shard in self._shards(split))

    def row_groups(self, split: str) -> list[tuple[int, int]]:
        """The row groups of a split in order, each as (first row, row after its last)."""
        ends = np.cumsum([0, *(rows for shard in self._shards(split) for rows in shard.row_groups)])
        return [(int(start), int(stop)) for start, stop in pairwise(ends)]

    def verify(self, splits: Sequence[str] | None = None) -> None:
        """Check the size and SHA-256 of every shard.

        Args:
            splits: The splits to check; all of them where None.

        Raises:
            CorruptData: If a shard is missing or is not what the manifest says; names all that are bad.
        """
        shards = [shard for split in splits or SPLITS for shard in self._shards(split)]
        with ThreadPoolExecutor(_num_threads(len(shards))) as pool:
            faults = [fault for fault in pool.map(self._find_fault, shards) if fault]
        if faults:
            raise CorruptData("; ".join(faults) + self._advice())

    def check_sizes(self) -> None:
        """Check that every shard is there with its size: quick, and reads none of them.

        Raises:
            CorruptData: If a shard is missing or has another size.
        """
        shards = [shard for split in SPLITS for shard in self._shards(split)]
        faults = [fault for shard in shards if (fault := self._find_size_fault(shard))]
        if faults:
            raise CorruptData("; ".join(faults) + self._advice())

    def read_rows(self, split: str, start: int, stop: int, *, verify: bool = False) -> Rows:
        """Read a range of images, from the row groups that overlap it alone.

        Args:
            split: `train`, `validation` or `test`.
            start: The first row.
            stop: The row after the last.
            verify: Also check the size and SHA-256 of every shard the range touches, in the same pass: the
                quickest way to read a whole split with every check.

        Raises:
            DataError: If the dataset holds a table, or the range is not in the split.
            CorruptData: If a shard is not what the manifest says, or a page's checksum does not fit.
        """
        example, pieces = self._wanted(split, start, stop)
        if len(pieces) == 1 and not verify:
            return self._read_piece(pieces[0], example, None)
        pixels = np.empty((stop - start, example.row_bytes), np.uint8)
        labels = None if self.manifest.classes is None else np.empty(stop - start, np.int64)

        def fill(together: Sequence[_Piece]) -> None:
            data = self._read_whole(together[0].shard) if verify else None
            for piece in together:
                rows = self._read_piece(piece, example, data)
                target = slice(piece.position, piece.position + piece.rows)
                pixels[target] = rows.pixels
                if labels is not None and rows.labels is not None:
                    labels[target] = rows.labels

        tasks = [list(group) for _, group in groupby(pieces, lambda piece: piece.shard.path if verify else piece)]
        with ThreadPoolExecutor(_num_threads(len(tasks))) as pool:
            list(pool.map(fill, tasks))
        return Rows(pixels, labels)

    def blocks(self, split: str, start: int, stop: int, block_rows: int) -> Iterator[Rows]:
        """The rows of a range in order, at most so many at a time, in the memory of a page and a block.

        Raises:
            DataError: If the dataset holds a table, or the range is not in the split.
            CorruptData: As `read_rows`, once the fault is reached.
        """
        example, pieces = self._wanted(split, start, stop)
        for piece in pieces:
            skip, left = piece.skip, piece.rows
            for block in self._group_blocks(piece.shard, piece.group, block_rows):
                part = slice(min(skip, block.num_rows), skip + left)
                skip -= part.start
                rows = self._rows_of(block, example, part)
                left -= len(rows.pixels)
                if len(rows.pixels):
                    yield rows
                if not left:
                    break

    def read_table(self, split: str) -> pa.Table:
        """Read a whole split, all columns, as Arrow.

        Raises:
            CorruptData: If a page's checksum or a footer does not fit.
        """

        def read(shard: Shard) -> pa.Table:
            return self._read_groups(shard, list(range(len(shard.row_groups))), None)

        shards = self._shards(split)
        if not shards:
            return arrow_schema(self.manifest.example, labelled=self.manifest.classes is not None).empty_table()
        with ThreadPoolExecutor(_num_threads(len(shards))) as pool:
            return pa.concat_tables(pool.map(read, shards))

    def _shards(self, split: str) -> tuple[Shard, ...]:
        if split not in SPLITS:
            raise DataError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
        return self.manifest.splits.get(split, ())

    def _wanted(self, split: str, start: int, stop: int) -> tuple[ImageSpec, list[_Piece]]:
        example = self.manifest.example
        if not isinstance(example, ImageSpec):
            raise DataError(f"{self.uri} holds a table, not images: read it with read_table")
        if not 0 <= start <= stop <= self.num_rows(split):
            raise DataError(f"rows {start} to {stop} are not in {split}, which has {self.num_rows(split)} rows")
        return example, self._pieces(split, start, stop)

    def _pieces(self, split: str, start: int, stop: int) -> list[_Piece]:
        pieces, first = [], 0
        for shard in self._shards(split):
            for group, rows in enumerate(shard.row_groups):
                lower, upper = max(start, first), min(stop, first + rows)
                if lower < upper:
                    pieces.append(_Piece(shard, group, lower - first, upper - lower, lower - start))
                first += rows
        return pieces

    def _read_piece(self, piece: _Piece, example: ImageSpec, data: bytes | None) -> Rows:
        table = self._read_groups(piece.shard, [piece.group], self._columns(), data)
        return self._rows_of(table, example, slice(piece.skip, piece.skip + piece.rows))

    def _columns(self) -> list[str]:
        return [IMAGE] if self.manifest.classes is None else [IMAGE, LABEL]

    def _rows_of(self, table: pa.Table, example: ImageSpec, part: slice) -> Rows:
        pixels = pixels_of(table.column(IMAGE), example.row_bytes)[part]
        if self.manifest.classes is None:
            return Rows(pixels, None)
        return Rows(pixels, table.column(LABEL).to_numpy()[part].astype(np.int64))

    def _read_whole(self, shard: Shard) -> bytes:
        """A shard's bytes, which are what the manifest says."""
        location = self._location / shard.path
        fault = self._find_size_fault(shard)
        if fault is None:
            data = location.read()
            found = hashlib.sha256(data).hexdigest()
            if found == shard.sha256:
                return data
            fault = f"{location.uri}: expected SHA-256 {shard.sha256}, found {found}"
        raise CorruptData(fault + self._advice())

    def _read_groups(
        self, shard: Shard, groups: list[int], columns: list[str] | None, data: bytes | None = None
    ) -> pa.Table:
        """Some row groups, from the file, or from its bytes where they are at hand and checked."""
        with self._reader(shard, data) as reader:
            return reader.read_row_groups(groups, columns=columns, use_threads=False)

    def _group_blocks(self, shard: Shard, group: int, block_rows: int) -> Iterator[pa.Table]:
        """One row group, some rows at a time."""
        with self._reader(shard, None, buffered=True) as reader:
            for batch in reader.iter_batches(block_rows, [group], self._columns(), use_threads=False):
                yield pa.Table.from_batches([batch])

    @contextmanager
    def _reader(self, shard: Shard, data: bytes | None, *, buffered: bool = False) -> Iterator[pq.ParquetFile]:
        location = self._location / shard.path
        try:
            with pa.BufferReader(data) if data is not None else _open(location) as file:
                yield pq.ParquetFile(
                    file,
                    metadata=self._checked_footer(shard, file),
                    # One coalesced request for each group where a read is a round trip; pointless on a disk.
                    pre_buffer=data is None and not location.is_local,
                    buffer_size=_READ_BUFFER_BYTES if buffered and location.is_local else 0,
                    # The SHA-256 of the whole file has said it already.
                    page_checksum_verification=data is None,
                )
        except FileNotFoundError as error:
            raise CorruptData(f"{location.uri} is missing{self._advice()}") from error
        except (OSError, pa.ArrowException) as error:
            raise CorruptData(f"{location.uri} cannot be read: {error}{self._advice()}") from error

    def _checked_footer(self, shard: Shard, file: pa.NativeFile) -> pq.FileMetaData:
        with self._lock:
            footer = self._footers.get(shard.path)
        if footer is None:
            size = file.size()
            if size != shard.bytes:
                raise CorruptData(self._size_fault(shard, size) + self._advice())
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
            raise CorruptData(f"{path}: expected row groups of {shard.row_groups} rows, found {found}{self._advice()}")
        if not isinstance(self.manifest.example, ImageSpec):
            return
        for index, rows in enumerate(found):
            allowed = rows * (self.manifest.example.row_bytes + _ROW_OVERHEAD_BYTES) + _GROUP_OVERHEAD_BYTES
            size = footer.row_group(index).total_byte_size
            if size > allowed:
                raise CorruptData(
                    f"{path}: row group {index} unfolds to {size:,} bytes, expected at most {allowed:,}{self._advice()}"
                )

    def _find_fault(self, shard: Shard) -> str | None:
        fault = self._find_size_fault(shard)
        if fault:
            return fault
        location = self._location / shard.path
        found = sha256_of(location)
        return None if found == shard.sha256 else f"{location.uri}: expected SHA-256 {shard.sha256}, found {found}"

    def _find_size_fault(self, shard: Shard) -> str | None:
        info = (self._location / shard.path).info()
        if info.type != fs.FileType.File:
            return f"{(self._location / shard.path).uri} is missing"
        return None if info.size == shard.bytes else self._size_fault(shard, info.size)

    def _size_fault(self, shard: Shard, found: int) -> str:
        return f"{(self._location / shard.path).uri}: expected {shard.bytes:,} bytes, found {found:,}"

    def _advice(self) -> str:
        return f". Remove the folder {self.uri} and run the ingest again"


def _parse_manifest(text: bytes, where: str) -> Manifest:
    try:
        version = json.loads(text).get("format_version")
    except (ValueError, AttributeError) as error:
        raise CorruptData(f"{where} is not a manifest: {error}. Remove its folder and run the ingest again") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"{where} has format version {version}, this betaline reads {FORMAT_VERSION}. Run the ingest "
            "again with this version, or use the version that wrote it"
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {e['msg']}" for e in error.errors()[:5])
        raise CorruptData(f"{where} is damaged: {faults}. Remove its folder and run the ingest again") from error


def pixels_of(column: pa.ChunkedArray, row_bytes: int) -> NDArray[np.uint8]:
    """A fixed-size binary column as an array of shape (rows, row_bytes): a view where the column is one
    chunk."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunk at all, or more than one array can hold
        return np.concatenate(
            [
                np.empty((0, row_bytes), np.uint8),
                *(pixels_of(pa.chunked_array([c]), row_bytes) for c in array.chunks),
            ]
        )
    data = array.buffers()[1]
    flat = np.frombuffer(data, np.uint8, count=len(array) * row_bytes, offset=array.offset * row_bytes)
    return flat.reshape(len(array), row_bytes)


def arrow_schema(example: ImageSpec | TableSpec, *, labelled: bool) -> pa.Schema:
    """The schema of a dataset's shards."""
    match example:
        case ImageSpec():
            shape = [example.channels, example.height, example.width]
            metadata = {"shape": json.dumps(shape), "layout": example.layout, "dtype": example.dtype}
            fields = [pa.field(IMAGE, pa.binary(example.row_bytes), nullable=False, metadata=metadata)]
        case TableSpec():
            fields = [pa.field(column.name, pa.type_for_alias(column.dtype)) for column in example.columns]
        case _:
            assert_never(example)
    if labelled:
        fields.append(pa.field(LABEL, pa.int32(), nullable=False))
    fields.append(pa.field(SOURCE_ROW, pa.int64(), nullable=False))
    return pa.schema(fields)


def rows_per_group(row_bytes: int) -> int:
    """Rows in a full row group, for rows of so many bytes."""
    return max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES // max(1, row_bytes)))


def write_shard(location: Location, table: pa.Table, group_rows: int) -> Shard:
    """Write one shard, whole or not at all.

    Args:
        location: The file to write; its name becomes the shard's path.
        table: The rows, in `arrow_schema`.
        group_rows: Rows in each row group but the last.

    Raises:
        DataError: If the disk is full.
    """
    sink = pa.BufferOutputStream()
    images = IMAGE in table.column_names
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="lz4",
        write_page_checksum=True,
        # Pixels neither repeat nor sort: a dictionary and statistics would only cost time.
        use_dictionary=not images,
        write_statistics=not images,
    ) as writer:
        writer.write_table(table, row_group_size=group_rows)
    data = sink.getvalue()
    write_whole(location, data)
    groups = [min(group_rows, table.num_rows - first) for first in range(0, table.num_rows, group_rows)]
    return Shard(
        path=location.path.rsplit("/", 1)[-1],
        rows=table.num_rows,
        bytes=data.size,
        sha256=hashlib.sha256(data).hexdigest(),
        row_groups=tuple(groups),
    )


def _open(location: Location) -> pa.NativeFile:
    return location.filesystem.open_input_file(location.path)


def _num_threads(tasks: int) -> int:
    # Arrow's count follows OMP_NUM_THREADS, which a cluster sets to the CPUs a worker was given.
    return max(1, min(tasks, pa.cpu_count()))
