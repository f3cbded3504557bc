"""Understanding of a table's columns: role, type, way of writing, and remarks.

Nothing is left out, guessed or reinterpreted without a remark. Shapes: N rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from pipelines.data.sources.config import ColumnChoice, IngestConfig
from pipelines.data.sources.tables.columns import Understood, is_text
from pipelines.data.sources.tables.values import (
    AMBIGUOUS,
    INFINITE,
    INTEGER,
    LEADING_ZERO,
    PLAIN,
    Dates,
    Numerals,
    count_distinct,
    find_dates,
    find_numerals,
    has_decimal_comma,
    is_censored,
    is_money,
    is_whole,
    listed,
    looks_missing,
    mask_of,
    matches,
    plain_numbers,
    texts,
)
from vae import progress

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

FEW = 20
"""Rows, or different values, up to which a column is never taken for an identifier or for text."""
_LEAST_SHARE = 0.25
"""Largest value that a column of shares has at least."""
_SHOWN_TEXT = 80
_BOOLEANS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"}, {"0", "1"})
_IDENTIFIER = re.compile(r"(?i)(^|[_ .-])(id|ids|key|uuid|guid|nr|no|number|index|row)$|Id$|ID$")
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+|rownames|index(_\d+)?")
_MISSING, _CATEGORIES = "--set na_values='[\"\", TEXT]'", "--set categorical='[COLUMN]'"


class Finding(NamedTuple):
    """A column, its values, and those that do not fit."""

    column: Understood
    wrong: NDArray[np.bool_] | None = None
    """Whether each value does not fit, [N]; None if all do."""
    what: str = ""
    """Message for such a value, with a field for its text."""
    values: Any = None
    """Values as the dataset stores them, [N]; None for columns that it does not."""


class _Evidence(NamedTuple):
    """Facts that the columns of a file tell of one another."""

    comma: bool | None
    """Whether numbers have a decimal comma; None where nothing tells."""
    absent: frozenset[str]
    """Texts that stand for missing values among numbers."""


def understand(table: pa.Table, is_text: bool, config: IngestConfig) -> Iterator[Finding]:
    """Yields what each column of a source is, one after the other, so that one is in memory.

    Args:
        table: Every row.
        is_text: Whether the values are texts of any meaning.
        config: May say what some columns are.
    """
    evidence = _evidence(table, config) if is_text else None
    names = table.column_names
    for name in progress.counted(names, "understanding columns", len(names), "columns"):
        yield _with_facts(_find(table[name], name, config, evidence), table[name])


def _evidence(table: pa.Table, config: IngestConfig) -> _Evidence:
    comma: list[bool] = []
    absent: set[str] = set()
    names = table.column_names
    for name in progress.counted(names, "looking for decimal commas and missing values", len(names), "columns"):
        present = texts(table[name], config.na_values).drop_null()
        if (numbers := plain_numbers(present)) is not None:
            comma += [] if is_whole(numbers) else [False]
            continue
        signs = looks_missing(present)
        rest = present.filter(pa.array(~signs))
        says = has_decimal_comma(rest)
        comma += [] if says is None else [says]
        if signs.any() and len(rest) and matches(rest, r"^[+-]?[0-9.,]+$").mean() > 0.5:
            absent |= set(present.filter(pa.array(signs)).unique().to_pylist())
    return _Evidence(any(comma) if comma else None, frozenset(absent))


def _find(values: pa.ChunkedArray, name: str, config: IngestConfig, evidence: _Evidence | None) -> Finding:
    choice = config.choice(name)
    if evidence is None or not is_text(values.type):
        found = Finding(_typed(values, name, config))
    else:
        found = _find_text(texts(values, {*config.na_values, *choice.missing}), name, config, evidence)
    column = replace(
        found.column, absent=tuple(sorted({*found.column.absent, *config.na_values, *choice.missing} - {""}))
    )
    if choice.role is not None and column.type not in ("empty", "nested"):
        is_kept_text = choice.role == "feature" and column.type == "text"
        column = replace(column, role=choice.role, type="category" if is_kept_text else column.type, order=choice.order)
    if name == config.label:
        if pa.types.is_integer(pa.type_for_alias(column.dtype)) and is_text(values.type):
            column = replace(column, dtype="string", numerals=None)  # classes are names
        column = replace(column, role="label")
    return found._replace(column=column)


def _find_text(values: pa.ChunkedArray, name: str, config: IngestConfig, evidence: _Evidence) -> Finding:
    choice = config.choice(name)
    present = values.drop_null()
    if not len(present):
        return Finding(Understood(name, "out", "empty", "string", remarks=("every value is missing",)))
    if choice.type in ("category", "ordered", "boolean", "text"):
        column = _words(present, name, config, choice)
        if choice.type != "text" and matches(present, INTEGER).all() and not _is_code(present):
            column = replace(column, dtype="int64", numerals=Numerals())
        return Finding(column)
    if choice == ColumnChoice() and not (evidence.comma and matches(present, r"\.[0-9]{3}$").any()):
        numbers = plain_numbers(present)
        whole = numbers is not None and is_whole(numbers) and bool(matches(present, INTEGER).all())
        if numbers is not None and not (whole and _is_code(present)):
            return Finding(replace(_number_column(name, numbers, whole, config, money=False), numerals=Numerals()))
    signs, bounds = looks_missing(present), is_censored(present)
    rest = present.filter(pa.array(~signs & ~bounds))
    as_numbers = _find_numbers(values, rest, name, config, evidence)
    if as_numbers is not None:
        return as_numbers
    dates, notes = (Dates(choice.format), []) if choice.format else find_dates(rest if len(rest) else present)
    if dates is not None:
        times = dates.convert(values)
        absent = _signs(present, looks_missing(present))
        wrong = mask_of(pc.is_valid(values)) & mask_of(pc.is_null(times)) & ~_among(values, absent)
        found = Understood(name, "feature", "time", str(dates.dtype), dates=dates, absent=absent)
        return Finding(_remarked(found, *notes, _missing_remark(present, absent)), wrong, "expected a date, found {!r}")
    return _find_words(values, present, signs, name, config, evidence)


def _find_numbers(
    values: pa.ChunkedArray, rest: pa.ChunkedArray, name: str, config: IngestConfig, evidence: _Evidence
) -> Finding | None:
    """Returns a column of numbers; None if it is none."""
    choice = config.choice(name)
    if not len(rest) or (choice.type in (None, "time") and (choice.type or _is_code(rest))):
        return None
    numerals, notes = find_numerals(rest, evidence.comma)
    if choice.decimal is not None:
        numerals = replace(numerals, decimal=choice.decimal, is_plain=False)
    infinite = matches(rest, INFINITE) | mask_of(pc.is_inf(numerals.convert(rest)))
    number = numerals.are_numbers(rest) & ~infinite
    odd = rest.filter(pa.array(~number & ~infinite))
    if choice.type is None and (
        number.sum() + infinite.sum() < max(1, len(odd))
        or (pc.count_distinct(odd).as_py() >= 10 and len(odd) > 0.1 * len(rest))
    ):
        return None
    present = values.drop_null()
    absent = _signs(present, looks_missing(present) | is_censored(present))
    taken = texts(values, absent)
    numbers = numerals.convert(taken)
    bad = mask_of(pc.is_valid(taken)) & (mask_of(pc.is_null(numbers)) | mask_of(pc.is_inf(numbers)))
    whole = numerals.is_plain and matches(taken.filter(pa.array(~bad)).drop_null(), INTEGER).all()
    good = numbers.filter(pa.array(~bad)).drop_null()
    share = f"{number.sum():,} of the column's {len(present):,} values are numbers"
    what = (
        f"expected a finite number, found {{!r}}; {share}. If it means missing, use {_MISSING}; "
        f"if the values are categories, {_CATEGORIES}"
    )
    column = _number_column(name, good, bool(whole), config, is_money(rest))
    column = replace(column, numerals=numerals, absent=absent)
    return Finding(_remarked(column, *notes, _missing_remark(present, absent)), bad, what)


def _is_code(rest: pa.ChunkedArray) -> bool:
    """Returns whether texts of digits are no numbers: they have leading zeros, or more digits than a double."""
    longest = pc.max(pc.binary_length(rest)).as_py() or 0
    if longest < 2 or not matches(rest, INTEGER).all():
        return False
    if matches(rest, LEADING_ZERO).any():
        return True
    return longest > 15 and bool(mask_of(pc.greater(pc.utf8_length(rest), 15)).mean() > 0.5)


def _number_column(name: str, numbers: pa.ChunkedArray, whole: bool, config: IngestConfig, money: bool) -> Understood:
    """Returns a column of finite numbers, none of them missing."""
    choice = config.choice(name)
    least, largest, distinct = (0, 0, 0) if not len(numbers) else _range(numbers)
    dtype = str(numbers.type) if pa.types.is_integer(numbers.type) else "int64" if whole else "double"
    column = Understood(name, dtype=dtype, distinct=distinct)
    if choice.type is not None:
        return replace(column, type=choice.type)  # pyright: ignore[reportArgumentType]
    if distinct <= 1 and len(numbers) > 1:
        return replace(column, role="out", type="real", remarks=("every value is the same",))
    written_whole = whole
    whole = whole or is_whole(numbers)
    if written_whole and distinct == len(numbers):
        if _INDEX.fullmatch(name) or (distinct > FEW and largest - least == distinct - 1):
            return replace(column, role="identifier", type="integer", remarks=("numbers the rows",))
        if distinct > FEW and _IDENTIFIER.search(name):
            return replace(column, role="identifier", type="integer", remarks=("differs in every row",))
    if whole and distinct == 2 and (least, largest) == (0, 1):
        # A category of the dataset's own type: 0.0 and 1.0 stay fractional numbers in the file.
        return replace(column, type="boolean") if written_whole else replace(column, type="boolean", dtype="int64")
    if money:
        return replace(column, type="money")
    if whole:
        return replace(column, type="count" if least >= 0 else "integer")
    if least >= 0 and _LEAST_SHARE <= largest <= 1:
        return replace(column, type="share")
    return replace(column, type="positive" if least > 0 else "real")


def _find_words(
    values: pa.ChunkedArray,
    present: pa.ChunkedArray,
    signs: NDArray[np.bool_],
    name: str,
    config: IngestConfig,
    evidence: _Evidence,
) -> Finding:
    found = _signs(present, signs)
    sure = tuple(sign for sign in found if sign.lower() not in AMBIGUOUS or sign in evidence.absent)
    unsure = tuple(sign for sign in found if sign not in sure)
    taken = texts(values, sure)
    column = _words(taken.drop_null(), name, config, config.choice(name))
    asks = tuple(sign for sign in unsure if sign.lower() == "na" and column.role == "feature")
    kept = tuple(sign for sign in unsure if sign not in asks)
    numbers = matches(taken.drop_null(), PLAIN)
    odd = (
        f"{numbers.sum():,} of the texts are numbers, such as {taken.drop_null().filter(pa.array(numbers))[0].as_py()!r}"
        if (numbers.any() and not numbers.all())
        else ""
    )
    column = _remarked(
        replace(column, absent=sure),
        _missing_remark(present, sure),
        odd if column.role == "feature" else "",
        f"{listed(kept)} kept as a category" if kept and column.role == "feature" else "",
    )
    what = (
        f"{{!r}} among categories may mean missing. If it does, use {_MISSING}; to keep it as a category, {_CATEGORIES}"
    )
    return Finding(column, _among(values, asks) if asks else None, what)


def _words(present: pa.ChunkedArray, name: str, config: IngestConfig, choice: ColumnChoice) -> Understood:
    """Returns a column of texts, none of them missing."""
    number, distinct = len(present), pc.count_distinct(present).as_py()
    column = Understood(name, "feature", "category", "string", distinct=distinct)
    if choice.type == "text":
        return replace(column, role="out", type="text")
    if choice.type is not None:
        return replace(column, type=choice.type)
    if not number:
        return replace(column, role="out", type="empty", remarks=("every value is missing",))
    if distinct == 1 and number > 1:
        return replace(column, role="out", remarks=("every value is the same",))
    is_wordy = pc.mean(pc.count_substring(present, " ")).as_py() >= 3
    if distinct == number and (_INDEX.fullmatch(name) or (number > FEW and not is_wordy)):
        return replace(column, role="identifier", type="text", remarks=("differs in every row",))
    if distinct > config.max_categories or (distinct > FEW and distinct > 0.5 * number):
        most = (
            f"more than max_categories={config.max_categories}"
            if distinct > config.max_categories
            else "too many to learn"
        )
        return replace(column, role="out", type="text", remarks=(f"{distinct:,} different texts, {most}",))
    words = {str(word).lower() for word in pc.unique(present).to_pylist()}
    return replace(column, type="boolean" if words in _BOOLEANS else "category")


def _typed(values: pa.ChunkedArray, name: str, config: IngestConfig) -> Understood:
    """Returns a column of a source that has types."""
    kind, choice = values.type, config.choice(name)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        return Understood(name, "out", "nested", "string", remarks=(f"values of type {kind}",))
    if pa.types.is_null(kind) or values.null_count == len(values):
        return Understood(name, "out", "empty", "string", remarks=("every value is missing",))
    if pa.types.is_temporal(kind):
        dtype = "date32[day]" if pa.types.is_date(kind) else "timestamp[us]"
        zone = getattr(kind, "tz", None)
        return Understood(name, type="time", dtype=dtype, remarks=(f"zone {zone}: stored as UTC",) if zone else ())
    if is_text(kind):
        return _words(pc.cast(values, pa.string()).drop_null(), name, config, choice)
    if pa.types.is_boolean(kind):
        return Understood(name, type="boolean", dtype="bool")
    if choice.type in ("category", "ordered", "boolean"):
        return Understood(name, type=choice.type, dtype=str(kind))
    numbers = pc.cast(values, pa.float64()) if pa.types.is_decimal(kind) else values
    if pa.types.is_floating(numbers.type):
        numbers = numbers.filter(pc.is_finite(numbers))
    column = _number_column(name, numbers.drop_null(), pa.types.is_integer(kind), config, money=False)
    return replace(column, dtype="double" if pa.types.is_decimal(kind) else str(kind))


def _with_facts(found: Finding, values: pa.ChunkedArray) -> Finding:
    """Returns a column with its values, its examples, and its missing, least and largest values."""
    column = found.column
    if column.type in ("nested", "empty"):
        missing = values.null_count if column.type == "nested" else len(values)
        return found._replace(column=replace(column, missing=missing))
    typed = column.convert(values)
    present = typed.drop_null()
    wrong = 0 if found.wrong is None else int(found.wrong.sum())
    shown = tuple(str(value)[:_SHOWN_TEXT] for value in pc.unique(present.slice(0, 1000))[:3].to_pylist())
    facts: dict[str, Any] = {"missing": typed.null_count - wrong, "examples": shown}
    facts["distinct"] = count_distinct(present)
    if len(present) and not is_text(present.type) and not pa.types.is_boolean(present.type):
        ends = pc.min_max(present).as_py()
        facts |= {"least": _written(ends["min"]), "largest": _written(ends["max"])}
    return found._replace(column=replace(column, **facts), values=typed)


def _range(numbers: pa.ChunkedArray) -> tuple[float, float, int]:
    ends = pc.min_max(numbers).as_py()
    return ends["min"], ends["max"], count_distinct(numbers)


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _signs(present: pa.ChunkedArray, mask: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(sorted(present.filter(pa.array(mask)).unique().to_pylist())) if mask.any() else ()


def _among(values: pa.ChunkedArray, some: Sequence[str]) -> NDArray[np.bool_]:
    return mask_of(pc.is_in(values, value_set=pa.array(some, pa.string()))) if some else np.zeros(len(values), bool)


def _missing_remark(present: pa.ChunkedArray, absent: Sequence[str]) -> str:
    return f"{_among(present, absent).sum():,} × {listed(absent)} read as missing" if absent else ""


def _remarked(column: Understood, *remarks: str) -> Understood:
    return replace(column, remarks=(*column.remarks, *filter(None, remarks)))
