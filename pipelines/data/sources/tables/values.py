"""Meaning of a column's texts: numbers as people write them, dates, and signs of a missing value.

Shapes: N values of a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

_EXPONENT = r"([eE][+-]?[0-9]+)?"
PLAIN = rf"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+){_EXPONENT}$"
"""A number as programs write it."""
INTEGER = r"^[+-]?[0-9]+$"
LEADING_ZERO = r"^0[0-9]+$"
"""A code of digits, such as a zip code: as a number it would lose its zeros."""
INFINITE = r"(?i)^[+-]?inf(inity)?$"
_POINT = rf"^[+-]?([0-9]+|[0-9]{{1,3}}([, '’][0-9]{{3}})+)?(\.[0-9]*)?{_EXPONENT}$"
_COMMA = rf"^[+-]?([0-9]+|[0-9]{{1,3}}([. '’][0-9]{{3}})+)?(,[0-9]*)?{_EXPONENT}$"
_GROUPED = {"point": r"^[+-]?[0-9]{1,3}(,[0-9]{3})+$", "comma": r"^[+-]?[0-9]{1,3}(\.[0-9]{3})+$"}
"""Numbers whose only sign is a delimiter of thousands by one reading, and of decimals by the other."""
_CENSORED = r"^[<>≤≥]=?\s*[0-9.,]+$"
_MONEY = r"[€$£¥₹₽₩]|US\$|EUR|USD|GBP|CHF|JPY"
_MISSING = (
    "",
    "na",
    "n/a",
    "n.a.",
    "#n/a",
    "nan",
    "null",
    "none",
    "nil",
    "missing",
    "?",
    "-",
    "--",
    ".",
    "..",
    "…",
    "\\n",
)
AMBIGUOUS = ("na", "none", "nil", "missing")
"""Signs of a missing value that may also name a category."""
_DATES = (
    (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}", ("%Y-%m-%d",)),
    (r"[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}", ("%Y/%m/%d",)),
    (r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}", ("%d/%m/%Y", "%m/%d/%Y")),
    (r"[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}", ("%d.%m.%Y",)),
    (r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{2}", ("%d/%m/%y", "%m/%d/%y")),
    (r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{2}", ("%d.%m.%y",)),
    (r"[0-9]{1,2} [A-Za-z]{3} [0-9]{4}", ("%d %b %Y",)),
    (r"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}", ("%d-%b-%Y",)),
    (r"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{2}", ("%d-%b-%y",)),
    (r"[0-9]{1,2} [A-Z][a-z]+ [0-9]{4}", ("%d %B %Y",)),
    (r"[A-Z][a-z]{2} [0-9]{1,2}, [0-9]{4}", ("%b %d, %Y",)),
    (r"[A-Z][a-z]+ [0-9]{1,2}, [0-9]{4}", ("%B %d, %Y",)),
)
_TIMES = (
    (r"", ""),
    (r" [0-9]{1,2}:[0-9]{2}", " %H:%M"),
    (r" [0-9]{1,2}:[0-9]{2}:[0-9]{2}", " %H:%M:%S"),
    (r"T[0-9]{2}:[0-9]{2}:[0-9]{2}", "T%H:%M:%S"),
)
_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
_SORTED_ROWS = 1 << 16
"""Numbers from which on different ones are counted by sorting."""
_VALUED = re.compile(
    rf"^(?:{_MONEY})?\s*[+\-−(]?\s*(?:{_MONEY})?\s*[0-9.,]*[0-9][0-9., '’\u00a0\u202f]*(?:[eE][+-]?[0-9]+)?\s*%?\)?\s*"
    rf"(?:{_MONEY}|%)?$|^{_DATES[0][0]}.*$|^[0-9]{{1,2}}([/.-])[0-9]{{1,2}}\1[0-9]{{2,4}}.*$"
)


@lru_cache(1 << 12)
def is_valued(text: str) -> bool:
    """Returns whether a text is a number or a date, however written."""
    return _VALUED.match(text) is not None


@lru_cache(1 << 12)
def is_missing(text: str) -> bool:
    """Returns whether a text is a sign that other tools write for a missing value."""
    return text.lower() in _MISSING


def matches(values: pa.ChunkedArray, pattern: str) -> NDArray[np.bool_]:
    """Returns which texts match a regular expression, [N]; null does not."""
    return mask_of(pc.match_substring_regex(values, pattern))


def mask_of(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Returns truth values as an array, [N]; null is false."""
    return pc.fill_null(values, False).to_numpy().astype(bool)


def plain_numbers(present: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Returns the numbers of texts that are all written as programs write finite numbers; None if one is not."""
    try:
        numbers = pc.cast(present, pa.float64())
    except pa.ArrowInvalid:
        return None
    # "nan" and "inf" are no numbers of a table, and 1e999 is none of a double.
    return numbers if len(numbers) and pc.all(pc.is_finite(numbers)).as_py() else None


def is_whole(numbers: pa.ChunkedArray) -> bool:
    """Returns whether finite numbers, at least one, are all whole."""
    return len(numbers) > 0 and all(
        pc.all(pc.equal(pc.floor(some), some)).as_py() for some in numbers.chunks if len(some)
    )


def count_distinct(values: pa.ChunkedArray) -> int:
    """Returns the number of different values that are present."""
    kind = values.type
    if len(values) < _SORTED_ROWS or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return pc.count_distinct(values).as_py()
    # Sorting takes an eighth of the memory of a table of hashes.
    ordered = values.drop_null().to_numpy()
    ordered = ordered if ordered.flags.writeable else ordered.copy()
    ordered.sort()
    ends = ordered[1:] != ordered[:-1]
    if ordered.dtype.kind == "f":
        ends &= ~np.isnan(ordered[1:]) | ~np.isnan(ordered[:-1])
    return int(ends.sum()) + bool(len(ordered))


def looks_missing(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Returns which texts other tools write for a missing value, [N]."""
    return mask_of(pc.is_in(pc.utf8_lower(values), value_set=pa.array(_MISSING)))


def is_censored(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Returns which texts give a bound in place of a number, such as `<=5`, [N]."""
    return matches(values, _CENSORED)


def tidied(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns texts of numbers with a plain minus, plain blanks, and no sign of money or of percent."""
    steps = (
        ("[\u00a0\u202f\u2009\u2007]", " "),
        ("^[\u2212\u2013]", "-"),
        (rf"^([-+(]?)\s*(?:{_MONEY})\s*", r"\1"),
        (rf"\s*(?:{_MONEY})(\)?)$", r"\1"),
        (r"\s*%(\)?)$", r"\1"),
        (r"^\((.*)\)$", r"-\1"),
        ("^[\u2212\u2013]", "-"),
        (r"^([-+])\s+", r"\1"),
    )
    for pattern, plain in steps:
        values = pc.replace_substring_regex(values, pattern, plain)
    return values


@dataclass(frozen=True)
class Numerals:
    """The way in which a column writes its numbers."""

    decimal: str = "."
    """Sign before the decimals, a point or a comma."""
    is_plain: bool = True
    """Whether every number is written as programs write it."""
    percent: bool = False
    """Whether the numbers are percentages, which become shares: 12 % is 0.12."""

    def are_numbers(self, values: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Returns which texts are numbers, [N]."""
        if self.is_plain:
            return matches(values, PLAIN)
        different = values.unique()
        if len(different) > 0.25 * len(values):
            return self._are_tidy_numbers(values)
        numbers = self._are_tidy_numbers(pa.chunked_array([different]))
        return numbers[pc.index_in(values, value_set=different).to_numpy()]

    def _are_tidy_numbers(self, values: pa.ChunkedArray) -> NDArray[np.bool_]:
        clean = tidied(values)
        return matches(clean, _POINT if self.decimal == "." else _COMMA) & matches(clean, "[0-9]")

    def convert(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Returns the numbers of texts, double; null where a text is none."""
        if self.is_plain and not self.percent:
            try:
                numbers = pc.cast(values, pa.float64())
            except pa.ArrowInvalid:
                pass  # some texts are no numbers
            else:
                gaps = pc.is_nan(numbers)
                return pc.if_else(gaps, pa.scalar(None, pa.float64()), numbers) if pc.any(gaps).as_py() else numbers
        fits = self.are_numbers(values)
        if not self.is_plain:
            values = pc.replace_substring_regex(tidied(values), "[ '’]" + ("|," if self.decimal == "." else r"|\."), "")
            values = pc.replace_substring(values, ",", ".") if self.decimal == "," else values
        kept = pc.if_else(pa.array(fits), values, pa.scalar(None, pa.string()))
        # Arrow reads no leading plus sign.
        numbers = pc.cast(pc.replace_substring_regex(kept, r"^\+", ""), pa.float64())
        return pc.divide(numbers, 100.0) if self.percent else numbers


def find_numerals(values: pa.ChunkedArray, comma: bool | None) -> tuple[Numerals, list[str]]:
    """Returns the way of writing that fits most texts of a column, and what to say of it.

    Args:
        values: Texts that are present.
        comma: Whether other columns of the file have a decimal comma; None if they do not tell.
    """
    plain = matches(values, PLAIN)
    odd = values.filter(pa.array(~plain))
    if not len(odd) and not (comma and _all_grouped(values, "comma")):
        return Numerals(), []
    fits = {sign: Numerals(sign, is_plain=False).are_numbers(odd).sum() for sign in (".", ",")}
    if not max(fits.values()) and len(odd):
        return Numerals(), []
    signed = odd if len(odd) else values
    decimal, notes = ".", []
    if fits[","] > fits["."] or (comma and fits[","] == fits["."]):
        decimal = ","
        notes.append("decimal comma")
    elif fits[","] == fits["."] and _all_grouped(tidied(signed), "point") and matches(signed, ",").any():
        notes.append("commas read as thousands: 1,234 is 1234")
    percent = matches(signed, r"%\)?$").mean() > 0.5
    notes += ["percentages read as shares: 12 % is 0.12"] if percent else []
    notes += [f"written as money: {signed[0].as_py()!r}"] if matches(signed, f"(?:{_MONEY})").any() else []
    notes += ["brackets read as a minus"] if matches(signed, r"^\(.*\)$").any() else []
    found = Numerals(decimal, is_plain=False, percent=bool(percent))
    first = signed.filter(pa.array(found.are_numbers(signed)))[:1]
    return found, notes or [f"{first[0].as_py()!r} read as {found.convert(first)[0].as_py():g}"]


def has_decimal_comma(values: pa.ChunkedArray) -> bool | None:
    """Returns whether a column's numbers have a decimal comma; None where both readings fit."""
    odd = values.filter(pa.array(~matches(values, PLAIN)))
    if len(odd) < 0.5 * len(values) or not len(odd):
        return False if matches(values, r"^[+-]?[0-9]*\.[0-9]{1,2}$").any() else None
    fits = [Numerals(sign, is_plain=False).are_numbers(odd).mean() for sign in (".", ",")]
    return None if fits[0] == fits[1] or max(fits) < 0.9 else bool(fits[1] > fits[0])


def is_money(values: pa.ChunkedArray) -> bool:
    """Returns whether most texts have a sign of money."""
    return bool(len(values)) and bool(matches(values, f"(?:{_MONEY})").mean() > 0.5)


@dataclass(frozen=True)
class Dates:
    """The way in which a column writes its dates."""

    format: str
    """Format of `strptime`, or `ISO 8601` for dates with a time, and perhaps a zone."""

    @property
    def dtype(self) -> pa.DataType:
        """Type that the dataset stores."""
        return pa.date32() if "H" not in self.format and self.format != "ISO 8601" else pa.timestamp("us")

    def convert(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Returns the dates of texts; null where a text is none."""
        if self.format == "ISO 8601":
            fits = matches(values, _ISO)
            kept = pc.if_else(pa.array(fits), values, pa.scalar(None, pa.string()))
            zoned = pc.replace_substring_regex(kept, r"([+-][0-9]{2}):?([0-9]{2})$", r"\1:\2")
            has_zone = matches(values, r"(Z|[+-][0-9]{2}:?[0-9]{2})$")
            zoned = pc.if_else(pa.array(has_zone), zoned, pc.binary_join_element_wise(zoned, pa.scalar("Z"), ""))
            return pc.cast(pc.cast(zoned, pa.timestamp("us", "UTC")), pa.timestamp("us"))
        if self.format == "%Y-%m-%d":
            try:
                return pc.cast(values, self.dtype)
            except pa.ArrowInvalid:
                pass  # some texts are no dates, or have no zero before a digit
        times = pc.strptime(values, format=self.format, unit="us", error_is_null=True)
        return pc.cast(times, self.dtype)


def find_dates(values: pa.ChunkedArray) -> tuple[Dates | None, list[str]]:
    """Returns the way in which most of a column's present texts are dates, None if they are not, and what to say of it."""
    sample = values.slice(0, 2000)
    if matches(sample, _ISO).mean() > 0.9:
        return Dates("ISO 8601"), []
    for shape, formats in _DATES:
        for tail, time in _TIMES:
            if matches(sample, f"^{shape}{tail}$").mean() > 0.9:
                fits = [Dates(format + time) for format in formats]
                gaps = {one: one.convert(values).null_count for one in fits}
                least = min(gaps.values())
                if least > 0.1 * len(values):
                    return None, []
                good = [one for one in fits if gaps[one] == least]
                unsure = len(good) > 1 and good[0].convert(values) != good[1].convert(values)
                notes = [f"dates read as day first ({good[0].format}); month first fits as well"] if unsure else []
                return good[0], notes
    return None, []


def texts(values: pa.ChunkedArray, na_values: Iterable[str]) -> pa.ChunkedArray:
    """Returns a column's texts, null where they are empty or one of `na_values`."""
    absent = pc.is_in(values, value_set=pa.array(sorted({"", *na_values}), pa.string()))
    return pc.if_else(absent, pa.scalar(None, pa.string()), values) if pc.any(absent).as_py() else values


def listed(values: Sequence[str], most: int = 3) -> str:
    """Returns the first few texts in quotes, and whether there are more."""
    return ", ".join(map(repr, values[:most])) + (", …" if len(values) > most else "")


def _all_grouped(values: pa.ChunkedArray, reading: str) -> bool:
    marked = values.filter(pa.array(matches(values, "[.,]")))
    return len(marked) > 0 and bool(matches(marked, _GROUPED[reading]).all())
