"""CSV files. Every value is read as text first, so that bad numbers are named and never converted."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.survey import Listing, Source, Survey, read_unchanged
from pipelines.data.sources.tables import Rejected, RowLocator, TableSegment, check_columns, survey_table
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_INTEGER = r"^\s*[+-]?[0-9]{1,18}\s*$"
_INFINITE = r"(?i)^\s*[+-]?inf(inity)?\s*$"
# Texts that other tools take for a missing value.
_LOOKS_MISSING = r"(?i)^\s*(na|n/a|nan|null|none|nil|missing|\?|-|\.)?\s*$"
# Options of `betaline ingest`, for messages.
_MISSING, _CATEGORIES = "--set na_values='[\"\", TEXT]'", "--set categorical='[COLUMN]'"
_SHOWN_TEXT = 80


@dataclass(frozen=True, kw_only=True)
class CsvSegment(TableSegment):
    """Neighbouring CSV files."""

    schema: pa.Schema
    config: IngestConfig

    def load(self) -> pa.Table:
        """Returns all rows of the files, typed; a value that does not fit its column's type is null."""
        texts = [_parse(read_unchanged(self.listing, file), file.path, self.config).table for file in self.files]
        return _typed(pa.concat_tables(texts), self.schema, self.config)


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the files; see `Source.survey`."""
    paths = listing.matching((".csv", ".tsv"))
    sizes = dict(zip(listing.paths, listing.sizes, strict=True))
    total = sum(sizes[path] for path in paths)
    if total > config.max_memory_bytes:
        limit = f"above the limit of {config.max_memory_bytes:,} (--set max_memory_bytes=N)"
        raise DataError(f"{listing.root}: {total:,} bytes of CSV, {limit}")
    files, parsed = [], []
    for path in paths:
        data, file = listing.read(path)
        files.append(file)
        parsed.append(_parse(data, path, config))
        _check_same_columns(parsed[0], parsed[-1], files[0].path, path)
    texts = pa.concat_tables([one.table for one in parsed])
    if not len(texts):
        raise DataError(f"{files[0].path}: 0 examples. The file has a header and no rows")
    rows = tuple(len(one.table) for one in parsed)
    names = RowLocator(tuple(paths), rows, 2 if config.header else 1)
    malformed = np.concatenate([one.malformed for one in parsed])
    problems = [problem for one in parsed for problem in one.problems]
    schema, bad = _infer(texts, malformed, names, config, problems)
    segment = partial(CsvSegment, listing=listing, schema=schema, config=config)
    rejected = Rejected(names, problems, bad)
    return survey_table(_typed(texts, schema, config), files, rejected, segment, config)


SOURCE = Source(claims=lambda listing: bool(listing.matching((".csv", ".tsv"))), survey=survey)
"""One CSV file, or a folder of CSV files with the same columns."""


@dataclass(frozen=True)
class _Parsed:
    """One file's rows as text; a row with the wrong number of fields is empty."""

    table: pa.Table
    malformed: NDArray[np.bool_]
    problems: tuple[Problem, ...]


def _parse(data: bytes, path: str, config: IngestConfig) -> _Parsed:
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 ({error.reason}). Save the file as UTF-8") from error
    data = data.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    first, _, rest = data.partition(b"\n")
    names = _column_names(first.decode().rstrip("\r"), path, config)
    header_lines, body = (1, rest) if config.header else (0, data)
    text = {name: pa.string() for name in names}
    if not body:
        return _Parsed(pa.schema(text).empty_table(), np.zeros(0, bool), ())
    invalid: list[tuple[int, Problem]] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        what = f"expected {row.expected_columns} fields, found {row.actual_columns}"
        invalid.append((row.number - 1, Problem(path, what, row.number + header_lines, text=row.text[:_SHOWN_TEXT])))
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(body),
            # Only without threads are the numbers of bad rows known.
            pyarrow.csv.ReadOptions(column_names=names, use_threads=False),
            pyarrow.csv.ParseOptions(delimiter=config.delimiter, invalid_row_handler=note, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(column_types=text, strings_can_be_null=False, null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    malformed = np.zeros(len(table) + len(invalid), bool)
    malformed[[row for row, _ in invalid]] = True
    # Bad rows keep their place, so that a row's position is its line.
    places = np.cumsum(~malformed) - 1
    whole = table.take(pa.array(places, mask=malformed)) if invalid else table
    return _Parsed(whole, malformed, tuple(problem for _, problem in invalid))


def _column_names(first: str, path: str, config: IngestConfig) -> list[str]:
    fields = next(csv.reader([first], delimiter=config.delimiter), [])
    if not fields:
        raise DataError(f"{path}: 0 examples. The file is empty")
    if config.header and all(re.fullmatch(_NUMBER, field) for field in fields):
        raise DataError(
            f"{path}: expected names in the first line, found only numbers ({first[:_SHOWN_TEXT]}). "
            "Use --set header=false if the file has none"
        )
    names = [field.strip() if config.header else f"column_{i + 1}" for i, field in enumerate(fields)]
    check_columns(names, path, config)
    return names


def _check_same_columns(first: _Parsed, other: _Parsed, first_path: str, path: str) -> None:
    expected, actual = first.table.column_names, other.table.column_names
    if expected != actual:
        missing, extra = sorted(set(expected) - set(actual)), sorted(set(actual) - set(expected))
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"extra {', '.join(extra)}"] if extra else []
        raise DataError(
            f"{path}: columns differ from {first_path}'s: {'; '.join(parts) or 'another order'}. Give all "
            "files the same"
        )


def _infer(
    texts: pa.Table,
    malformed: NDArray[np.bool_],
    names: RowLocator,
    config: IngestConfig,
    problems: list[Problem],
) -> tuple[pa.Schema, NDArray[np.bool_]]:
    """Returns each column's type and the rows with a value that does not fit it; adds their problems."""
    bad = malformed.copy()
    fields = []
    for name in texts.column_names:
        values = _without_missing(texts[name], config)
        if name in config.categorical:
            fields.append(pa.field(name, pa.string()))
            continue
        kind, wrong, what = _infer_column(values)
        if name == config.label and kind == pa.int64():
            kind = pa.string()  # classes are names
        fields.append(pa.field(name, kind))
        for row in np.flatnonzero(wrong & ~malformed):
            text = values[int(row)].as_py()
            problems.append(names.problem(int(row), what.format(text[:_SHOWN_TEXT]), name))
        bad |= wrong
    return pa.schema(fields), bad


def _infer_column(values: pa.ChunkedArray) -> tuple[pa.DataType, NDArray[np.bool_], str]:
    """Returns the type, the rows that do not fit, and the message for such a row, with a field for its text."""
    present = ~_mask(pc.is_null(values))
    number = _matches(values, _NUMBER)
    # 1e999 is written as a number and read as infinity.
    infinite = _matches(values, _INFINITE) | _overflows(values, number)
    number &= ~infinite
    absent = present & _matches(values, _LOOKS_MISSING)
    text = present & ~number & ~infinite & ~absent
    if number.sum() + infinite.sum() >= max(1, text.sum()):
        kind = pa.int64() if _mask(pc.match_substring_regex(values, _INTEGER))[number].all() else pa.float64()
        share = f"{number.sum():,} of the column's {present.sum():,} values are numbers"
        what = (
            f"expected a finite number, found {{!r}}; {share}. If it means missing, use {_MISSING}; "
            f"if the values are categories, {_CATEGORIES}"
        )
        return kind, present & ~number, what
    if number.any() or infinite.any():
        share = f"{text.sum():,} of the column's {present.sum():,} values are text"
        what = f"expected text, found {{!r}}; {share}. If all are categories, use {_CATEGORIES}"
        return pa.string(), number | infinite | absent, what
    what = (
        f"{{!r}} among categories may mean missing. If it does, use {_MISSING}; to keep it as a category, {_CATEGORIES}"
    )
    return pa.string(), absent, what


def _typed(texts: pa.Table, schema: pa.Schema, config: IngestConfig) -> pa.Table:
    columns = []
    for field in schema:
        values = _without_missing(texts[field.name], config)
        if not pa.types.is_string(field.type):
            whole = pa.types.is_integer(field.type)
            fits = pc.match_substring_regex(values, _INTEGER if whole else _NUMBER)
            values = pc.if_else(fits, pc.utf8_trim_whitespace(values), pa.scalar(None, pa.string()))
            # Arrow reads no leading plus sign.
            values = pc.replace_substring_regex(values, r"^\+", "")
        columns.append(pc.cast(values, field.type))
    return pa.table(columns, schema=schema)


def _without_missing(values: pa.ChunkedArray, config: IngestConfig) -> pa.ChunkedArray:
    absent = pc.is_in(values, value_set=pa.array(config.na_values, pa.string()))
    return pc.if_else(absent, pa.scalar(None, pa.string()), values)


def _overflows(values: pa.ChunkedArray, number: NDArray[np.bool_]) -> NDArray[np.bool_]:
    clean = pc.utf8_trim_whitespace(pc.filter(values, pa.array(number)))
    floats = pc.cast(pc.replace_substring_regex(clean, r"^\+", ""), pa.float64())
    out = np.zeros(len(number), bool)
    out[np.flatnonzero(number)] = _mask(pc.is_inf(floats))
    return out


def _matches(values: pa.ChunkedArray, pattern: str) -> NDArray[np.bool_]:
    return _mask(pc.fill_null(pc.match_substring_regex(values, pattern), False))


def _mask(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return values.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
