"""Readers and writers of a dataset's Parquet shards.

Images are one `fixed_size_binary(C·H·W)` column of uint8 pixels, so that a row group is one contiguous block
that becomes a NumPy array without a copy. Attributes are float32 columns beside it, and a table's columns are
themselves. Pages carry checksums, and the manifest carries each shard's size
and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from vae import progress
from vae.data.integrity import Integrity
from vae.data.manifest import FORMAT_VERSION, MANIFEST_NAME, SPLITS, Manifest, Shard
from vae.data.rows import Rows, arrow_schema, empty_rows, fill, rows_of, stored_columns
from vae.data.schema import ExampleSpec
from vae.errors import CorruptData, DataError
from vae.storage import Location, locate, write_whole

ROW_GROUP_BYTES = 4 << 20
ROW_GROUP_ROWS = 8192
# Each column of a row group takes half a kilobyte of its shard, and of the memory of its readers.
_LEAST_TABLE_GROUP_ROWS, _LEAST_TABLE_BLOCK_ROWS = 1024, 512
_BLOCK_BYTES = 1 << 20
_READ_BUFFER_BYTES, _MOST_BUFFERS = 1 << 16, 512


@dataclass(frozen=True)
class _Piece:
    """Part of one row group that a request needs."""

    shard: Shard
    group: int
    skip: int
    rows: int
    position: int
    """Offset of this piece's first row in the result."""


class Dataset:
    """A published dataset, opened by its manifest. Safe to use from several threads, and picklable.

    Args:
        uri: The folder, as a path or any pyarrow filesystem URI.
        manifest: Its manifest.
        checks_shards: Whether a shard's SHA-256 is checked before the first of its rows is read.
    """

    def __init__(self, uri: str, manifest: Manifest, *, checks_shards: bool = False) -> None:
        self.uri = uri
        self.manifest = manifest
        self.checks_shards = checks_shards
        self._location = locate(uri)
        self._integrity = Integrity(self._location, manifest)

    def __reduce__(self) -> tuple[object, ...]:
        return partial(Dataset, checks_shards=self.checks_shards), (self.uri, self.manifest)

    @classmethod
    def open(cls, uri: str, *, checks_shards: bool = False) -> Dataset:
        """Opens a dataset's folder.

        Args:
            uri: The folder, as a path or any pyarrow filesystem URI.
            checks_shards: Whether a shard's SHA-256 is checked before the first of its rows is read.

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
        return cls(location.uri, _parse_manifest(text, manifest.uri), checks_shards=checks_shards)

    def num_rows(self, split: str) -> int:
        """Returns the rows of a split; 0 where the dataset has no such split."""
        return sum(shard.rows for shard in self._shards(split))

    def row_groups(self, split: str) -> list[tuple[int, int]]:
        """Returns the row groups of a split in order, each as (first row, row after its last)."""
        ends = np.cumsum([0, *(rows for shard in self._shards(split) for rows in shard.row_groups)])
        return [(int(start), int(stop)) for start, stop in pairwise(ends)]

    def verify(self, splits: Sequence[str] | None = None) -> None:
        """Checks the size and SHA-256 of every shard.

        Args:
            splits: The splits to check; all of them where None.

        Raises:
            CorruptData: If a shard is missing or is not what the manifest says; names all that are bad.
        """
        shards = [shard for split in splits or SPLITS for shard in self._shards(split)]
        with ThreadPoolExecutor(_num_threads(len(shards))) as pool:
            checked = zip(shards, pool.map(self._integrity.find_fault, shards), strict=True)
            size = sum(shard.bytes for shard in shards)
            counted = progress.counted(checked, "verifying shards", size, "bytes", lambda pair: pair[0].bytes)
            faults = [fault for _, fault in counted if fault]
        if faults:
            raise CorruptData("; ".join(faults) + self._integrity.advice)

    def check_sizes(self) -> None:
        """Checks that every shard exists with its size; quick, because it reads none of them.

        Raises:
            CorruptData: If a shard is missing or has another size.
        """
        shards = [shard for split in SPLITS for shard in self._shards(split)]
        faults = [fault for shard in shards if (fault := self._integrity.find_size_fault(shard))]
        if faults:
            raise CorruptData("; ".join(faults) + self._integrity.advice)

    def read_rows(self, split: str, start: int, stop: int, *, verify: bool = False) -> Rows:
        """Reads a range of rows from the row groups that overlap it.

        Args:
            split: `train`, `validation` or `test`.
            start: The first row.
            stop: The row after the last.
            verify: Also check the size and SHA-256 of every shard the range touches, in the same pass: the
                quickest way to read a whole split with every check.

        Raises:
            DataError: If the range exceeds the split.
            CorruptData: If a shard is not what the manifest says, or a page's checksum does not fit.
        """
        pieces = self._pieces(split, start, stop)
        if len(pieces) == 1 and not verify:
            return self._read_piece(pieces[0], None)
        whole = empty_rows(self.manifest.example, stop - start)

        def read(together: Sequence[_Piece]) -> None:
            data = self._read_whole(together[0].shard) if verify else None
            for piece in together:
                fill(whole, piece.position, self._read_piece(piece, data))

        tasks = [list(group) for _, group in groupby(pieces, lambda piece: piece.shard.path if verify else piece)]
        with ThreadPoolExecutor(_num_threads(len(tasks))) as pool:
            list(pool.map(read, tasks))
        return whole

    def blocks(self, split: str, start: int, stop: int, block_rows: int) -> Iterator[Rows]:
        """Yields the rows of a range in order, at most `block_rows` at a time, in the memory of a page and a block.

        Raises:
            DataError: If the range exceeds the split.
            CorruptData: As `read_rows`, once the fault is reached.
        """
        for piece in self._pieces(split, start, stop):
            skip, left = piece.skip, piece.rows
            for block in self._group_blocks(piece.shard, piece.group, block_rows):
                part = slice(min(skip, block.num_rows), min(skip + left, block.num_rows))
                skip -= part.start
                if part.start < part.stop:
                    left -= part.stop - part.start
                    yield rows_of(block, self.manifest.example, part)
                if not left:
                    break

    def read_table(self, split: str, columns: list[str] | None = None) -> pa.Table:
        """Reads a whole split as Arrow: all columns, or some.

        Raises:
            CorruptData: If a page's checksum or a footer does not fit.
        """

        def read(shard: Shard) -> pa.Table:
            return self._read_groups(shard, list(range(len(shard.row_groups))), columns)

        shards = self._shards(split)
        if not shards:
            table = arrow_schema(self.manifest.example).empty_table()
            return table if columns is None else table.select(columns)
        with ThreadPoolExecutor(_num_threads(len(shards))) as pool:
            return pa.concat_tables(pool.map(read, shards))

    def count_missing(self, split: str) -> int:
        """Returns the number of a table's missing entries, from the footers alone.

        Raises:
            CorruptData: If a footer does not fit.
        """
        names, missing = {column.name for column in self.manifest.example.columns or ()}, 0
        for shard in self._shards(split):
            with self._reader(shard, None) as reader:
                places = [place for place, name in enumerate(reader.schema_arrow.names) if name in names]
                groups = (reader.metadata.row_group(index) for index in range(reader.num_row_groups))
                missing += sum(group.column(place).statistics.null_count for group in groups for place in places)
        return missing

    def read_group(self, split: str, group: int) -> pa.Table:
        """Reads one row group of a split as Arrow, all columns; `row_groups` says which rows it holds.

        Raises:
            DataError: If the split has no such row group.
            CorruptData: If a page's checksum or a footer does not fit.
        """
        found = [(shard, index) for shard in self._shards(split) for index in range(len(shard.row_groups))]
        if not 0 <= group < len(found):
            raise DataError(f"row group {group} is not in {split}, which has {len(found)} row groups")
        shard, index = found[group]
        return self._read_groups(shard, [index], None)

    def _shards(self, split: str) -> tuple[Shard, ...]:
        if split not in SPLITS:
            raise DataError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
        return self.manifest.splits.get(split, ())

    def _pieces(self, split: str, start: int, stop: int) -> list[_Piece]:
        """Returns the parts of row groups that make up a range of rows."""
        if not 0 <= start <= stop <= self.num_rows(split):
            raise DataError(f"rows {start} to {stop} are not in {split}, which has {self.num_rows(split)} rows")
        pieces, first = [], 0
        for shard in self._shards(split):
            for group, rows in enumerate(shard.row_groups):
                lower, upper = max(start, first), min(stop, first + rows)
                if lower < upper:
                    pieces.append(_Piece(shard, group, lower - first, upper - lower, lower - start))
                first += rows
        return pieces

    def _read_piece(self, piece: _Piece, data: bytes | None) -> Rows:
        table = self._read_groups(piece.shard, [piece.group], stored_columns(self.manifest.example), data)
        return rows_of(table, self.manifest.example, slice(piece.skip, piece.skip + piece.rows))

    def _read_whole(self, shard: Shard) -> bytes:
        """Reads a shard's bytes and checks them against the manifest."""
        location = self._location / shard.path
        fault = self._integrity.find_size_fault(shard)
        if fault is None:
            data = location.read()
            found = hashlib.sha256(data).hexdigest()
            if found == shard.sha256:
                return data
            fault = f"{location.uri}: expected SHA-256 {shard.sha256}, found {found}"
        raise CorruptData(fault + self._integrity.advice)

    def _read_groups(
        self, shard: Shard, groups: list[int], columns: list[str] | None, data: bytes | None = None
    ) -> pa.Table:
        """Reads some row groups, from the file or from its checked bytes."""
        with self._reader(shard, data) as reader:
            return reader.read_row_groups(groups, columns=columns, use_threads=False)

    def _group_blocks(self, shard: Shard, group: int, block_rows: int) -> Iterator[pa.Table]:
        """Yields one row group, some rows at a time."""
        # Each column has a buffer of its own.
        is_narrow = len(stored_columns(self.manifest.example)) <= _MOST_BUFFERS
        with self._reader(shard, None, buffered=is_narrow) as reader:
            for batch in reader.iter_batches(
                block_rows, [group], stored_columns(self.manifest.example), use_threads=False
            ):
                yield pa.Table.from_batches([batch])

    @contextmanager
    def _reader(self, shard: Shard, data: bytes | None, *, buffered: bool = False) -> Iterator[pq.ParquetFile]:
        location = self._location / shard.path
        if self.checks_shards and data is None:
            self._integrity.check_once(shard)
        try:
            with pa.BufferReader(data) if data is not None else _open(location) as file:
                yield pq.ParquetFile(
                    file,
                    metadata=self._integrity.checked_footer(shard, file),
                    # One coalesced request for each group where a read is a round trip; pointless on a disk.
                    pre_buffer=data is None and not location.is_local,
                    buffer_size=_READ_BUFFER_BYTES if buffered and location.is_local else 0,
                    # The SHA-256 of the whole file has said it already.
                    page_checksum_verification=data is None,
                )
        except FileNotFoundError as error:
            raise CorruptData(f"{location.uri} is missing{self._integrity.advice}") from error
        except (OSError, pa.ArrowException) as error:
            raise CorruptData(f"{location.uri} cannot be read: {error}{self._integrity.advice}") from error


def _parse_manifest(text: bytes, where: str) -> Manifest:
    try:
        facts = json.loads(text)
        version, kind = facts.get("format_version"), facts.get("kind")
    except (ValueError, AttributeError) as error:
        raise CorruptData(f"{where} is not a manifest: {error}. Remove its folder and run the ingest again") from error
    if kind is not None:
        raise DataError(
            f"{where} is of {kind}, such as codes or scores, and not of examples. Give a folder that `betaline "
            "ingest` made, or `betaline apply` with a task that gives examples back"
        )
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


def rows_per_group(example: ExampleSpec) -> int:
    """Returns the number of rows of a full row group."""
    least = 1 if example.columns is None else _LEAST_TABLE_GROUP_ROWS
    return max(least, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES // max(1, example.row_bytes)))


def rows_per_block(example: ExampleSpec, row_bytes: int | None = None) -> int:
    """Returns the number of rows to read at once: a megabyte of them, and more of a table of many columns.

    Args:
        example: Schema of the rows.
        row_bytes: Bytes of a row in memory; None for those of its values.
    """
    # Each column of a block takes as long as hundreds of its values.
    least = 1 if example.columns is None else _LEAST_TABLE_BLOCK_ROWS
    return max(least, _BLOCK_BYTES // max(1, row_bytes or example.row_bytes))


def write_shard(location: Location, table: pa.Table, group_rows: int, repeated: Sequence[str] | None = None) -> Shard:
    """Writes one shard, whole or not at all.

    Args:
        location: The file to write; its name becomes the shard's path.
        table: The rows, in `arrow_schema`.
        group_rows: Rows in each row group but the last.
        repeated: Columns of few values, stored as dictionaries, as no other is; None: all columns, or none beside pixels.

    Raises:
        DataError: If the disk is full.
    """
    sink = pa.BufferOutputStream()
    blocks = any(pa.types.is_fixed_size_binary(field.type) for field in table.schema)
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="lz4",
        write_page_checksum=True,
        # Pixels neither repeat nor sort: a dictionary and statistics would only cost time.
        use_dictionary=(not blocks) if repeated is None else list(repeated),  # pyright: ignore[reportArgumentType]
        write_statistics=not blocks,
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
