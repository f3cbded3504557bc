"""Sources of tables: from the typed columns of CSV and Parquet files to a survey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.segments import Segment, SegmentReader, starts_of
from pipelines.data.sources.survey import Listing, Survey
from vae.data.manifest import SourceFile
from vae.data.rows import LABEL, SOURCE_ROW
from vae.data.schema import Column, ExampleSpec
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

# Files are read, and their rows shuffled, in groups of about this size.
_GROUP_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class TableSegment(Segment):
    """Neighbouring files of a table."""

    listing: Listing
    files: tuple[SourceFile, ...]
    columns: tuple[str, ...]
    """Names of the features."""

    def take(self, loaded: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
        """Returns the features of some rows."""
        return loaded.select(list(self.columns)).take(pa.array(rows))


@dataclass(frozen=True)
class RowLocator:
    """Maps a row of the concatenated files to a file and a number that the user can look up."""

    files: tuple[str, ...]
    sizes: tuple[int, ...]
    """Number of rows of each file."""
    first_number: int
    """Number of a file's first row: 1 or 2 for the lines of a text file, 0 for positions in a table."""

    def problem(self, row: int, what: str, column: str | None = None, text: str | None = None) -> Problem:
        """Returns a problem of one row."""
        starts = starts_of(self.sizes)
        index = int(np.searchsorted(starts, row, side="right")) - 1
        return Problem(self.files[index], what, int(row - starts[index]) + self.first_number, column, text)


class Rejected:
    """Rows to leave out, and their problems.

    Args:
        names: Places of rows, for messages.
        problems: Problems known before.
        bad_rows: Rows of these problems, shape (rows,); they get no further problem.
    """

    def __init__(self, names: RowLocator, problems: list[Problem], bad_rows: NDArray[np.bool_]) -> None:
        self.names, self.problems, self.before, self.rows = names, problems, bad_rows, bad_rows.copy()

    def add(self, mask: NDArray[np.bool_], what: str, column: str | None = None) -> None:
        """Rejects the rows of a mask."""
        self.problems += [self.names.problem(int(row), what, column) for row in np.flatnonzero(mask & ~self.before)]
        self.rows |= mask


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


def is_text(kind: pa.DataType) -> bool:
    """Returns whether a type is text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_number(kind: pa.DataType) -> bool:
    """Returns whether a type is a number or a boolean."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def check_columns(names: Sequence[str], where: str, config: IngestConfig) -> None:
    """Checks that names differ, that the configured columns exist, and that no name is betaline's own.

    Raises:
        DataError: If not; names the columns.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{where}: duplicate column {', '.join(map(repr, repeated))}. Rename or remove one of each")
    listed = ", ".join(names)
    for wanted in (*config.categorical, *([] if config.label is None else [config.label])):
        if wanted not in names:
            raise DataError(f"{where}: no column {wanted!r}. Columns: {listed}")
    clash = [name for name in names if name in (LABEL, SOURCE_ROW) and name != config.label]
    if clash:
        raise DataError(
            f"{where}: column {clash[0]!r} has a name betaline uses itself. Rename it"
            + (f", or use --label {LABEL}" if clash[0] == LABEL else "")
        )
    if len(names) == (config.label is not None):
        raise DataError(f"{where}: no column beside the label {config.label!r}")


def survey_table(
    table: pa.Table,
    files: Sequence[SourceFile],
    rejected: Rejected,
    make_segment: Callable[..., TableSegment],
    config: IngestConfig,
) -> Survey:
    """Returns the survey of a table: its columns, classes, and the rows to leave out.

    Args:
        table: Every row of the source, typed; text columns are categories, null is missing.
        files: Every file of the source.
        rejected: Rows that are rejected already; gets the others.
        make_segment: Makes a segment of `files`, `num_rows` and `columns`, the names of the features.
        config: Configuration of the ingest.
    """
    where, sizes = rejected.names.files[0], rejected.names.sizes
    features = tuple(name for name in table.column_names if name != config.label)
    _reject_rows(table.select(list(features)), where, rejected)
    classes = labels = None
    if config.label is not None:
        rejected.add(_as_mask(pc.is_null(table[config.label])), "the label is missing", config.label)
        classes, labels = _classes(table[config.label], rejected.rows, where, config.label)
    good = table.filter(pa.array(~rejected.rows))
    columns = [column_of(name, good[name], categorical=name in config.categorical) for name in features]
    groups, group_of_row = group_files(files, sizes)
    segments = [make_segment(columns=features, **group._asdict()) for group in groups]
    return Survey(
        files=tuple(files),
        example=ExampleSpec.of_table(tuple(columns)),
        num_rows=len(table),
        reader=SegmentReader(tuple(segments)),
        classes=classes,
        labels=labels,
        excluded=rejected.rows,
        groups=group_of_row,
        problems=tuple(rejected.problems),
    )


def _reject_rows(features: pa.Table, where: str, rejected: Rejected) -> None:
    """Rejects rows without any value, and rows with infinite numbers."""
    for name in features.column_names:
        if len(features) and features[name].null_count == len(features):
            raise DataError(f"{where}: every value of column {name!r} is missing. Remove the column")
    missing = [_as_mask(pc.is_null(values)) for values in features.columns]
    rejected.add(np.logical_and.reduce(missing), "every value is missing; leave the row out")
    for name, values in zip(features.column_names, features.columns, strict=True):
        if pa.types.is_floating(values.type):
            infinite = pc.fill_null(pc.is_inf(pc.cast(values, pa.float32(), safe=False)), False)
            rejected.add(_as_mask(infinite), "expected a number within ±3.4e38, found one beyond", name)


def _classes(
    column: pa.ChunkedArray, excluded: NDArray[np.bool_], where: str, name: str
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    if pa.types.is_floating(column.type):
        raise DataError(f"{where}: the label column {name!r} holds fractional numbers, expected text or integers")
    text = pc.fill_null(pc.cast(column, pa.string()), "").to_numpy(zero_copy_only=False).astype(str)
    values = np.unique(text[~excluded]).tolist()
    if all(value.lstrip("+-").isdigit() for value in values):
        values.sort(key=int)  # 10 after 9
    index = {value: number for number, value in enumerate(values)}
    return tuple(values), np.array([index.get(value, 0) for value in text], np.int32)


def column_of(name: str, values: pa.ChunkedArray, *, categorical: bool) -> Column:
    """Returns the schema of a column: categories if it is text or `categorical`, else numbers."""
    dtype = str(values.type)
    if not is_text(values.type) and not categorical:
        return Column(name, dtype=dtype)
    categories = tuple(str(value) for value in sorted(pc.unique(values.drop_null()).to_pylist()))
    return Column(name, categories, dtype=dtype)


def _as_mask(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), bool) if len(values) else np.zeros(0, bool)
