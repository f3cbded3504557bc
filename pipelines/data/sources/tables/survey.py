"""Sources of tables: from the rows of their files to a survey of typed columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.folders import HiveKeys, notes_on_keys, notes_on_splits, own_splits
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.segments import Segment, SegmentReader, starts_of
from pipelines.data.sources.survey import Listing, Source, Survey
from pipelines.data.sources.tables import excel, json_lines, parquet, text_files
from pipelines.data.sources.tables.columns import Understood
from pipelines.data.sources.tables.cost import Sample
from pipelines.data.sources.tables.raw import RawTable, ReadFile, check_same_columns
from pipelines.data.sources.tables.spill import Spill
from pipelines.data.sources.tables.understanding import understand
from pipelines.data.sources.tables.values import listed, mask_of
from vae import progress
from vae.data.manifest import SourceFile
from vae.data.rows import LABEL, SOURCE_ROW
from vae.data.schema import Column, ExampleSpec
from vae.errors import DataError, did_you_mean

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

_READERS: dict[tuple[str, ...], ReadFile] = {
    kind.SUFFIXES: kind.read for kind in (text_files, parquet, json_lines, excel)
}
"""Reader of each format of tables, by the endings of its files."""
# Files are read, and their rows shuffled, in groups of about this size.
_GROUP_BYTES = 256 << 20
_LARGE_BYTES = 16 << 20
_SHOWN_TEXT = 80
_BLOCK_VALUES, _LEAST_BLOCK_ROWS = 1 << 20, 1 << 9


@dataclass(frozen=True, kw_only=True)
class TableSegment(Segment):
    """Neighbouring files of a table."""

    listing: Listing
    files: tuple[SourceFile, ...]
    columns: tuple[Understood, ...]
    """Features, and identifiers."""
    keys: HiveKeys
    config: IngestConfig

    def load(self) -> pa.Table:
        """Returns the columns of all rows of the files; a value that does not fit its column is null."""
        schema = pa.schema([(one.stored_name, pa.type_for_alias(one.dtype)) for one in self.columns])
        rows = Spill(schema)
        num_rows = max(_LEAST_BLOCK_ROWS, _BLOCK_VALUES // max(1, len(schema)))
        for file in self.files:
            with self.listing.opened(file.path, file.sha256) as (source, _):
                raw = self.keys.add_to(_read(source, file.path, self.config), file.path)
            for start in range(0, len(raw.table), num_rows):
                part = raw.table.slice(start, num_rows)
                typed = [one.convert(part[one.name]).combine_chunks() for one in self.columns]
                rows.write(pa.RecordBatch.from_arrays(typed, schema=schema))
        return rows.table()

    def take(self, loaded: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
        """Returns the columns of some rows."""
        return loaded.take(pa.array(rows))


@dataclass(frozen=True)
class RowLocator:
    """Maps a row of the concatenated files to a file and a number that the user can look up."""

    files: tuple[str, ...]
    places: tuple[Sequence[int], ...]
    """Number of each row in its file: its line from 1 in a text file, its position from 0 elsewhere."""

    def problem(self, row: int, what: str, column: str | None = None, text: str | None = None) -> Problem:
        """Returns a problem of one row."""
        starts = starts_of([len(places) for places in self.places])
        index = int(np.searchsorted(starts, row, side="right")) - 1
        return Problem(self.files[index], what, self.places[index][row - int(starts[index])], column, text)


class FileGroup(NamedTuple):
    """Neighbouring files that are read together."""

    files: tuple[SourceFile, ...]
    num_rows: int


def group_files(files: Sequence[SourceFile], sizes: Sequence[int]) -> tuple[list[FileGroup], NDArray[np.int32]]:
    """Groups neighbouring files of about 256 MB together; returns the groups, and the group of each row."""
    groups: list[FileGroup] = []
    for file, size in zip(files, sizes, strict=True):
        if groups and sum(f.bytes for f in groups[-1].files) + file.bytes <= _GROUP_BYTES:
            last = groups.pop()
            groups.append(FileGroup((*last.files, file), last.num_rows + size))
        else:
            groups.append(FileGroup((file,), size))
    return groups, np.repeat(np.arange(len(groups), dtype=np.int32), [group.num_rows for group in groups])


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the files; see `Source.survey`."""
    paths = listing.paths
    _check_size(listing, paths, config)
    files: list[SourceFile] = []
    raws: list[RawTable] = []
    for path in paths:
        with listing.opened(path) as (source, file):
            files.append(file)
            if file.bytes >= _LARGE_BYTES:  # many small files are one part of the progress
                progress.report(f"reading the rows of {path}")
            raws.append(_read(source, path, config))
        check_same_columns(raws[0].table.schema, raws[-1].table.schema, paths[0], path, is_text=raws[0].is_text)
    where = listing.location(paths[0]).uri if len(paths) == 1 else listing.root
    sizes = [len(raw.places) for raw in raws]
    groups, group_of_row = group_files(files, sizes)
    keys = HiveKeys.of(paths, raws[0].table.column_names)
    keyed = [keys.add_to(raw, path) for raw, path in zip(raws, paths, strict=True)]
    whole = replace(_joined(keyed), splits=own_splits(paths, sizes))
    locator = RowLocator(tuple(paths), tuple(raw.places for raw in raws))

    def segments(columns: tuple[Understood, ...]) -> list[TableSegment]:
        place = {"columns": columns, "listing": listing, "keys": keys, "config": config}
        return [TableSegment(**place, **group._asdict()) for group in groups]

    surveyed = survey_rows(whole, locator, files, segments, where, config)
    notes = (*notes_on_splits(paths), *notes_on_keys(paths, keys), *surveyed.notes)
    reading = () if whole.splits is None else ("splits by path",)
    return replace(surveyed, groups=group_of_row, notes=notes, reading=reading)


def survey_rows(
    whole: RawTable,
    locator: RowLocator,
    files: Sequence[SourceFile],
    segments: Callable[[tuple[Understood, ...]], Sequence[Segment]],
    where: str,
    config: IngestConfig,
) -> Survey:
    """Returns the survey of the rows of a table.

    Args:
        whole: All rows.
        locator: Places of the rows, for messages.
        files: Every file of the source.
        segments: Returns the runs of rows that give the values of some columns.
        where: Name of the source in messages.
        config: Configuration of the ingest.

    Raises:
        DataError: If there are no rows, or no columns to model.
    """
    _check_table(whole.table, where, config)
    rejected = _Rejected(locator, list(whole.problems), whole.malformed)
    sample = Sample(len(whole.table), whole.table.num_columns)
    columns, example, classes, labels = _understood(whole, rejected, sample, where, config)
    stored = tuple(one for one in columns if one.role in ("feature", "identifier", "time"))
    return Survey(
        files=tuple(files),
        example=example,
        num_rows=len(whole.table),
        reader=SegmentReader(tuple(segments(stored))),
        classes=classes,
        labels=labels,
        own_splits=whole.splits,
        excluded=rejected.rows,
        problems=tuple(rejected.problems),
        notes=whole.notes,
        understood=columns,
        cost=sample.cost(whole.table),
    )


def _source(name: str, suffixes: tuple[str, ...]) -> Source:
    return Source(name, lambda config, listing: listing.matching(suffixes), survey)


TEXT = _source("text tables", text_files.SUFFIXES)
SOURCES = (
    TEXT,
    _source("Parquet tables", parquet.SUFFIXES),
    _source("JSON lines", json_lines.SUFFIXES),
    _source("workbooks", excel.SUFFIXES),
)
"""Formats of tables. A source is one file, or a folder of files with the same columns."""


def _check_size(listing: Listing, paths: Sequence[str], config: IngestConfig) -> None:
    sizes = dict(zip(listing.paths, listing.sizes, strict=True))
    total = sum(sizes[path] for path in paths)
    if total > config.max_memory_bytes:
        limit = f"above the limit of {config.max_memory_bytes:,} (--set max_memory_bytes=N)"
        raise DataError(f"{listing.root}: {total:,} bytes of tables, {limit}")


def _read(file: BinaryIO, path: str, config: IngestConfig) -> RawTable:
    return next(read for suffixes, read in _READERS.items() if path.lower().endswith(suffixes))(file, path, config)


def _joined(raws: Sequence[RawTable]) -> RawTable:
    notes = [note for raw in raws for note in raw.notes]
    return RawTable(
        pa.concat_tables([raw.table for raw in raws]),
        range(sum(len(raw.table) for raw in raws)),
        np.concatenate([raw.malformed for raw in raws]),
        tuple(problem for raw in raws for problem in raw.problems),
        tuple(dict.fromkeys(notes)),
        raws[0].is_text,
    )


class _Rejected:
    """Rows to leave out, and their problems.

    Args:
        locator: Places of rows, for messages.
        problems: Problems known before.
        bad_rows: Rows of these problems, [N]; they get no further problem.
    """

    def __init__(self, locator: RowLocator, problems: list[Problem], bad_rows: NDArray[np.bool_]) -> None:
        self.locator, self.problems, self.before, self.rows = locator, problems, bad_rows, bad_rows.copy()

    def add(self, mask: NDArray[np.bool_], what: str, column: str | None = None, values: Any = None) -> None:
        """Rejects the rows of a mask; the message has a field for the row's value."""
        for row in np.flatnonzero(mask & ~self.before).tolist():
            text = "" if values is None else values[row].as_py()[:_SHOWN_TEXT]
            self.problems.append(self.locator.problem(row, what.format(text), column))
        self.rows |= mask


def _understood(
    whole: RawTable, rejected: _Rejected, sample: Sample, where: str, config: IngestConfig
) -> tuple[tuple[Understood, ...], ExampleSpec, tuple[str, ...] | None, NDArray[np.int32] | None]:
    """Returns every column, the schema of the features, the classes and the labels; rejects rows with what does not fit."""
    found: dict[str, Understood] = {}
    features: dict[str, Column] = {}
    empty, label = np.ones(len(whole.table), bool), None
    for one in understand(whole.table, whole.is_text, config):
        name, column = one.column.name, one.column
        found[name] = column
        if one.values is not None and column.role != "out":
            sample.add(name, one.values)
        if column.is_stored and one.wrong is not None:
            rejected.add(one.wrong, one.what, name, whole.table[name])
        if column.role == "feature":
            empty &= mask_of(pc.is_null(one.values))
            _reject_infinite(one.values, name, rejected)
            features[name] = column.column(one.values)
        elif column.role == "label":
            label = name, one.values
    _check_columns(list(found.values()), where)
    rejected.add(empty & ~rejected.rows, "every value is missing; leave the row out")
    classes = labels = None
    if label is not None:
        name, values = label
        rejected.add(mask_of(pc.is_null(values)), "the label is missing", name)
        classes, labels = _classes(values, rejected.rows, where, name)
    if rejected.rows.any():  # whose categories are none
        good = pa.array(~rejected.rows)
        for name, column in features.items():
            if column.categories is not None:
                features[name] = found[name].column(found[name].convert(whole.table[name]).filter(good))
    return tuple(found.values()), ExampleSpec.of_table(features.values()), classes, labels


def _reject_infinite(values: pa.ChunkedArray, name: str, rejected: _Rejected) -> None:
    if pa.types.is_floating(values.type):
        infinite = pc.fill_null(pc.is_inf(pc.cast(values, pa.float32(), safe=False)), False)
        rejected.add(mask_of(infinite), "expected a number within ±3.4e38, found one beyond", name)


def _classes(
    column: pa.ChunkedArray, excluded: NDArray[np.bool_], where: str, name: str
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    if pa.types.is_floating(column.type):
        raise DataError(f"{where}: the label column {name!r} holds fractional numbers, expected text or integers")
    text = pc.fill_null(pc.cast(column, pa.string()), "").to_numpy().astype(str)
    values = np.unique(text[~excluded]).tolist()
    if all(value.lstrip("+-").isdigit() for value in values):
        values.sort(key=int)  # 10 after 9
    index = {value: number for number, value in enumerate(values)}
    return tuple(values), np.array([index.get(value, 0) for value in text], np.int32)


def _check_table(table: pa.Table, where: str, config: IngestConfig) -> None:
    if not len(table):
        raise DataError(f"{where}: 0 examples. The file has no rows")
    names = table.column_names
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DataError(f"{where}: duplicate column {listed(repeated)}. Rename or remove one of each")
    wanted = [*config.categorical, *config.columns, *([] if config.label is None else [config.label])]
    for name in wanted:
        if name not in names:
            raise DataError(f"{where}: no column {name!r}{did_you_mean(name, names)}. Columns: {', '.join(names)}")


def _check_columns(columns: Sequence[Understood], where: str) -> None:
    """Checks the roles of the columns.

    Raises:
        DataError: If not.
    """
    labels = [column.name for column in columns if column.role == "label"]
    if len(labels) > 1:
        raise DataError(f"{where}: {len(labels)} labels ({', '.join(labels)}), expected one. Make the others features")
    if not any(column.role == "feature" for column in columns):
        shown = "; ".join(f"{one.name!r}: {one.role}, {', '.join(one.remarks)}" for one in columns[:5])
        raise DataError(
            f"{where}: no column to model ({shown}). Name features with --columns, see `betaline ingest --help`"
        )
    for column in columns:
        if column.role == "feature" and column.name in (LABEL, SOURCE_ROW):
            other = f", or use --label {LABEL}" if column.name == LABEL else ""
            raise DataError(f"{where}: column {column.name!r} has a name betaline uses itself. Rename it{other}")
