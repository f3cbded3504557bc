"""What CSV and Parquet sources share: from typed columns to a survey."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from vae.data.manifest import Column, SourceFile, TableSpec
from vae.data.rows import LABEL, SOURCE_ROW
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

# Files are read, and their rows shuffled, in groups of about this size.
_GROUP_BYTES = 256 << 20


@dataclass(frozen=True)
class SurveyedTable:
    """What the columns of a whole source amount to."""

    spec: TableSpec
    classes: tuple[str, ...] | None
    labels: NDArray[np.int32] | None
    excluded: NDArray[np.bool_]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class RowNames:
    """Says where a row of the concatenated files is, in the user's own terms."""

    files: tuple[str, ...]
    starts: tuple[int, ...]
    first_number: int
    """What a file's first row is called: 1 or 2 for the lines of a text file, 0 for positions in a table."""

    def problem(self, row: int, what: str, column: str | None = None, text: str | None = None) -> Problem:
        """A problem of one row."""
        index = int(np.searchsorted(self.starts, row, side="right")) - 1
        number = row - self.starts[index] + self.first_number
        return Problem(self.files[index], what, number, column, text)


def group_files(files: Sequence[SourceFile]) -> list[list[SourceFile]]:
    """Neighbouring files in groups of about the same size."""
    groups: list[list[SourceFile]] = []
    for file in files:
        if not groups or sum(f.bytes for f in groups[-1]) + file.bytes > _GROUP_BYTES:
            groups.append([])
        groups[-1].append(file)
    return groups


def check_columns(names: Sequence[str], where: str, config: IngestConfig) -> None:
    """Refuse names that clash with one another, with the configuration or with the dataset's own.

    Raises:
        DataError: Naming the columns.
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


def survey_columns(
    table: pa.Table,
    bad: Iterable[Problem],
    bad_rows: NDArray[np.bool_],
    names: RowNames,
    config: IngestConfig,
) -> SurveyedTable:
    """Classes, categories and the rows to leave out, of all the source's typed columns.

    Args:
        table: Every row of the source; text columns are categorical, null is missing.
        bad: What is wrong already.
        bad_rows: The rows it is wrong with, shape (rows,).
        names: What to call a row.
    """
    problems, excluded = list(bad), bad_rows.copy()

    def reject(mask: NDArray[np.bool_], what: str, column: str | None = None) -> None:
        for row in np.flatnonzero(mask & ~bad_rows):
            problems.append(names.problem(int(row), what, column))
        excluded[mask] = True

    features = [name for name in table.column_names if name != config.label]
    empty = [name for name in features if len(table) and table[name].null_count == len(table)]
    if empty:
        raise DataError(f"{names.files[0]}: every value of column {empty[0]!r} is missing. Remove the column")
    missing = [_as_mask(pc.is_null(table[name])) for name in features]
    reject(np.logical_and.reduce(missing), "every value is missing; leave the row out")
    for name in features:
        if pa.types.is_floating(table[name].type):
            infinite = pc.fill_null(pc.is_inf(pc.cast(table[name], pa.float32(), safe=False)), False)
            reject(_as_mask(infinite), "expected a number within ±3.4e38, found one beyond", name)
    classes, labels = None, None
    if config.label is not None:
        reject(_as_mask(pc.is_null(table[config.label])), "the label is missing", config.label)
        classes, labels = _classes(table[config.label], excluded, names.files[0], config.label)
    good = table.filter(pa.array(~excluded))
    columns = tuple(column_of(name, good[name], categorical=name in config.categorical) for name in features)
    return SurveyedTable(TableSpec(columns=columns), classes, labels, excluded, tuple(problems))


def table_part_rows(table: pa.Table, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
    """Some rows of some columns."""
    return table.select(list(columns)).take(pa.array(rows))


def _classes(
    column: pa.ChunkedArray, excluded: NDArray[np.bool_], where: str, name: str
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    if pa.types.is_floating(column.type):
        raise DataError(f"{where}: the label column {name!r} holds fractional numbers, expected text or integers. ")
    text = pc.fill_null(pc.cast(column, pa.string()), "").to_numpy(zero_copy_only=False).astype(str)
    values = np.unique(text[~excluded]).tolist()
    if all(value.lstrip("+-").isdigit() for value in values):
        values.sort(key=int)  # 10 after 9
    index = {value: number for number, value in enumerate(values)}
    return tuple(values), np.array([index.get(value, 0) for value in text], np.int32)


def column_of(name: str, values: pa.ChunkedArray, *, categorical: bool) -> Column:
    """What a column holds: numbers, unless it is of text or asked to be categories."""
    text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if not text and not categorical:
        return Column(name=name, kind="numeric", dtype=str(values.type))
    found = pc.unique(values.drop_null()).to_pylist()
    return Column(
        name=name,
        kind="categorical",
        dtype=str(values.type),
        categories=tuple(str(value) for value in sorted(found)),
    )


def _as_mask(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), bool) if len(values) else np.zeros(0, bool)
