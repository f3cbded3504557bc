"""The layout of a delimited text file: its dialect, and which of its rows are names, data, or neither.

The dialect comes from CleverCSV's consistency measure, over the first lines. The rest is found in the parsed rows.

References:
    Van den Burg, Nazábal & Sutton, Wrangling Messy CSV Files by Detecting Row and Type Patterns (2019).
    https://arxiv.org/abs/1811.11242
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import clevercsv

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables.values import is_valued
from vae.errors import DataError

Record = tuple[int, list[str]]
"""Number of a record's first line, from 1, and its fields."""

_DELIMITERS = [",", ";", "\t", "|", " "]
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
_SNIFFED_CHARS, _SNIFFED_LINES = 1 << 15, 100
_HEAD = 400
"""Records that the structure is found in."""
_MOST_PREAMBLE, _MOST_FOOTNOTES = 50, 20


INDEX = "index"
"""Name of a first column that has none."""


@dataclass(frozen=True)
class Layout:
    """Dialect of a delimited text file, and the places of its names and rows."""

    delimiter: str
    quote: str
    escape: str
    names: tuple[str, ...]
    """Names of the columns, as the file or their places give them; all different."""
    written: list[str]
    """Fields of the line of names; none without one."""
    first: int
    """Index of the first record that is a row."""
    width: int
    """Number of fields of a row, with a last one that is empty in each."""

    def records(self, text: str) -> Iterator[Record]:
        """Yields the records of a text. A quoted field may span lines.

        Raises:
            DataError: If a quoted field never ends.
        """
        return _records(text, self.delimiter, self.quote, self.escape)


def _records(text: str, delimiter: str, quote: str, escape: str) -> Iterator[Record]:
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        escapechar=escape or None,
        skipinitialspace=delimiter != " ",
        strict=False,
    )
    line = 1
    for fields in reader:
        # A run of blanks is one delimiter.
        yield line, [field.strip() for field in fields if field or delimiter != " "]
        line = reader.line_num + 1


def find_layout(text: str, path: str, config: IngestConfig) -> tuple[Layout, list[str]]:
    """Returns the layout of a file, and one sentence for each thing about it that is not plain.

    Raises:
        DataError: If the file is empty, or its rows have no common number of fields.
    """
    if not text.strip():
        raise DataError(f"{path}: 0 examples. The file is empty")
    delimiter, quote, escape = _dialect(text, config)
    head = [fields for _, fields in zip(range(_HEAD), _records(text, delimiter, quote, escape), strict=False)]
    records = [fields for _, fields in head]
    notes = [] if delimiter == "," else [f"fields are separated by {_NAMES.get(delimiter, repr(delimiter))}"]
    if quote not in ('"', ""):
        notes.append(f"fields are quoted by {quote}")
    width = _width(records, path)
    start = _first_of_table(records, width)
    found, first, header_notes = _names(records, start, width, config)
    if start:
        notes.append(f"{_rows(start)} above the table {'was' if start == 1 else 'were'} left out: {_shown(records[0])}")
    notes += header_notes
    written = [] if found is None else records[first - 1]
    names, index_notes = _fitted(found, width, records[first:])
    names, name_notes = different(names)
    return Layout(delimiter, quote, escape, names, written, first, width), [*notes, *index_notes, *name_notes]


def _dialect(text: str, config: IngestConfig) -> tuple[str, str, str]:
    """Returns the delimiter, the quote and the escape character."""
    lines = text[:_SNIFFED_CHARS].splitlines(keepends=True)
    whole = lines if len(text) <= _SNIFFED_CHARS or len(lines) < 2 else lines[:-1]
    sample = "".join(whole[:_SNIFFED_LINES])
    wanted = _DELIMITERS if config.delimiter is None else [config.delimiter]
    try:
        found = clevercsv.Sniffer().sniff(sample, delimiters=wanted)
    except clevercsv.Error:
        found = None
    if found is None or not found.delimiter:
        # One column: no line holds a delimiter.
        return config.delimiter or ",", '"', ""
    # A quote may first occur below the sample; the usual one costs nothing where there is none.
    quote = found.quotechar or ('"' if '"' in text else "")
    return found.delimiter, quote, "" if found.escapechar == found.delimiter else found.escapechar or ""


def _width(records: Sequence[list[str]], path: str) -> int:
    counts = Counter(len(record) for record in records if any(record))
    # The commonest; of equally common ones the largest.
    width, number = max(counts.items(), key=lambda item: (item[1], item[0]))
    several = [w for w, n in counts.items() if n > 0.2 * sum(counts.values()) and n > 5]
    if len(several) > 1:
        raise DataError(
            f"{path}: rows of {' and of '.join(map(str, sorted(several)))} fields, expected one table. Save each table "
            "as a file of its own"
        )
    if number < 0.5 * len([r for r in records if any(r)]) and len(records) > 10:
        raise DataError(f"{path}: rows of {len(counts)} different numbers of fields, expected one table")
    return width


def _first_of_table(records: Sequence[list[str]], width: int) -> int:
    """Returns the index of the first record that belongs to the table, be it names or data."""
    for number, record in enumerate(records[:_MOST_PREAMBLE]):
        following = records[number + 1] if number + 1 < len(records) else []
        if len(record) == width - 1 and _are_names(record) and len(following) == width and not _are_names(following):
            return number  # names without one for the numbers of the rows
        if len(record) == width and sum(map(bool, record)) >= min(2, width):
            return number
    return 0


def _names(
    records: Sequence[list[str]], start: int, width: int, config: IngestConfig
) -> tuple[list[str] | None, int, list[str]]:
    """Returns the names, or None without a header, the index of the first row, and what to say."""
    header = config.header
    found = _is_header(records[start], records[start + 1 :], width)
    if header is None:
        header = found
    if not header:
        notes = [] if config.header is False else ["no line of names was found: columns are numbered from 1"]
        return None, start, notes
    top, below = records[start], records[start + 1] if start + 1 < len(records) else []
    is_group = "" in top and len(top) == len(below) and all(below) and len(set(below)) < len(below)
    if is_group and _are_names(below) and not _is_data(below, records[start + 2 :]):
        group, names = "", []
        for above, name in zip(top, below, strict=True):
            group = above or group
            names.append(f"{group} {name}")
        return names, start + 2, ["names come from two lines"]
    return list(top), start + 1, []


def _is_header(top: list[str], body: Sequence[list[str]], width: int) -> bool:
    """Returns whether a record names the columns: it differs from those below it."""
    if not body or len(top) < width:
        return True
    score = 0.0
    for column, name in enumerate(top):
        values = [record[column] for record in body if len(record) == width and record[column]]
        if not values:
            continue
        valued = sum(map(is_valued, values)) / len(values)
        if valued > 0.5:
            score += -1 if is_valued(name) else bool(name)
        elif not name or name in values:
            score -= 0.5
        else:
            score += 0.1
    return score > 0


def _is_data(record: list[str], body: Sequence[list[str]]) -> bool:
    return any(is_valued(field) for field in record) or not body


def _are_names(record: Sequence[str]) -> bool:
    return bool(record) and all(record) and not any(is_valued(field) for field in record)


def _fitted(names: list[str] | None, width: int, body: Sequence[list[str]]) -> tuple[list[str], list[str]]:
    """Returns as many names as columns, and what to say."""
    whole = [record for record in body if len(record) == width]
    last_is_empty = width > 1 and bool(whole) and not any(record[-1] for record in whole)
    if names is None:
        return [f"column_{place + 1}" for place in range(width - last_is_empty)], []
    if len(names) == width - 1:
        if last_is_empty:
            return names, ["every row ends in a delimiter"]
        # As R writes it.
        return [INDEX, *names], ["the first field of each row has no name: it numbers the rows"]
    if last_is_empty and not names[-1]:
        return names[:-1], ["every line ends in a delimiter"]
    if not names[0]:
        # As pandas writes it.
        return [INDEX, *names[1:]], [f"the first column has no name: it is called {INDEX}"]
    return names, []


def different(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Returns names that are all there and all differ, and what to say of those that were changed."""
    given, result, notes = set(names), [], []
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    for place, name in enumerate(names):
        new, number = name or f"column_{place + 1}", 1
        while new in result or (number > 1 and new in given):
            number += 1
            new = f"{name}_{number}"
        result.append(new)
    if repeated:
        shown = ", ".join(repeated[:5]) + (", …" if len(repeated) > 5 else "")
        notes.append(f"columns of one name were numbered: {shown}")
    return tuple(result), notes


def footnotes(rows: Sequence[list[str]], width: int) -> int:
    """Returns how many of the last rows are notes below the table: text in one field, where rows fill several."""
    if width == 1:
        return 0
    number = 0
    for row in reversed(rows[-_MOST_FOOTNOTES:]):
        filled = [field for field in row if field]
        if len(filled) > 1 or (filled and (len(row) == width == 2 or is_valued(filled[0]))):
            break
        number += 1
    # Blank lines above the notes go with them; blank lines alone are none.
    return number if any(any(row) for row in rows[len(rows) - number :]) else 0


def is_comment(record: Sequence[str], width: int) -> bool:
    """Returns whether a record is a comment: it begins with # and has another number of fields than a row."""
    return bool(record) and re.match(r"#", record[0]) is not None and len(record) != width


def _rows(number: int) -> str:
    return f"{number} line{'s' * (number != 1)}"


def _shown(record: Sequence[str]) -> str:
    return repr(" ".join(filter(None, record))[:60])
