"""The layout of a delimited text file: its dialect, and which of its rows are names, data, or neither."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables.dialect import DELIMITERS, ONE_COLUMN, Block, Dialect, find_dialect
from pipelines.data.sources.tables.values import is_missing, is_valued
from vae.errors import DataError

_HEAD = 400
"""Records that the structure is found in."""
_HEAD_BYTES, _MOST_HEAD_BYTES = 1 << 19, 1 << 25
"""Bytes that they are looked for in: at first, and at most."""
_LEAST_SCORED, _MOST_SCORED_FIELDS = 50, 400_000
"""Records that tell whether the line above them names the columns: at least, and fields of them at most."""
_MOST_PREAMBLE, MOST_FOOTNOTES = 50, 50
_IS_YEAR = re.compile("(1[89]|20)[0-9]{2}")
_IS_DATE = re.compile("^[0-9]{1,4}([/.-])[0-9]{1,2}\\1[0-9]{1,4}")
_LEAST_VALUED = 0.8
"""Share of a column's fields that are numbers or dates, where a text above them is a name or a unit."""
INDEX = "index"
"""Name of a first column that has none."""


@dataclass(frozen=True)
class Layout:
    """Dialect of a delimited text file, and the places of its names and rows."""

    dialect: Dialect
    names: tuple[str, ...]
    """Names of the columns, as the file or their places give them; all different."""
    written: list[str]
    """Fields of the line of names; none without one."""
    first: int
    """Index of the first record that is a row."""
    width: int
    """Number of fields of a row, with a last one that is empty in each."""
    field_chars: float = 1.0
    """Mean length of a field with its delimiter, in characters."""


class _Header(NamedTuple):
    """Names of the columns."""

    names: list[str] | None
    """One for each field of the line of names; None without one."""
    first: int
    """Index of the first record below."""
    notes: list[str]


def find_layout(pieces: Iterator[bytes], path: str, config: IngestConfig) -> tuple[Layout, list[str]]:
    """Returns the layout of a file, and one sentence for each thing about it that is not plain.

    Args:
        pieces: Text of the file from its beginning, as UTF-8; no more is read than the first records take.
        path: Name of the file, for messages.
        config: Configuration of the ingest.

    Raises:
        DataError: If the file is empty, or its rows have no common number of fields.
    """
    dialect, head, text = _head(pieces, path, config)
    records = [[field.strip() for field in fields] for fields in head.rows]
    delimiter, quote = dialect.delimiter, dialect.quote
    plain = (",", ONE_COLUMN)
    notes = [] if delimiter in plain else [f"fields are separated by {DELIMITERS.get(delimiter, repr(delimiter))}"]
    notes += [] if quote == '"' else [f"fields are quoted by {quote}"]
    notes += [f"{dialect.escape} stands before a sign that is text"] if dialect.escape else []
    notes += _one_column_notes(records) if delimiter == ONE_COLUMN else []
    if not re.search(r"\w", text) or not any(map(any, records)):
        raise DataError(f"{path}: 0 examples. Its lines hold nothing")
    width = _width(records, head.lines, path)
    start = _first_of_table(records, width)
    header = _header(records, start, width, config)
    _check_header(records, start, header, head.lines, width, path, config)
    if start:
        notes.append(
            f"{_rows(start)} above the table {'was' if start == 1 else 'were'} left out{_shown(records[:start])}"
        )
    notes += header.notes
    written = [] if header.names is None or width == 1 else records[start]
    names, index_notes = _fitted(header.names, width, records[header.first :])
    names, name_notes = different(names)
    field_chars = 1 + sum(len("".join(row)) for row in head.rows) / max(1, sum(map(len, head.rows)))
    return Layout(dialect, names, written, header.first, width, field_chars), [*notes, *index_notes, *name_notes]


def _head(pieces: Iterator[bytes], path: str, config: IngestConfig) -> tuple[Dialect, Block, str]:
    """Returns the dialect of a file, its first records, and the text that they were found in."""
    data, wanted = b"", _HEAD_BYTES
    while True:
        is_cut = True
        while is_cut and len(data) < wanted:
            piece = next(pieces, b"")
            data, is_cut = data + piece, bool(piece)
        text = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1 if is_cut else None].decode() or data.decode()
        if not is_cut and not text.strip():
            raise DataError(f"{path}: 0 examples. The file is empty")
        dialect = find_dialect(text, config.delimiter)
        is_last = not is_cut or wanted >= _MOST_HEAD_BYTES
        head = dialect.read(text, most=_HEAD, is_cut=not is_last)
        if is_last or len(head.rows) == _HEAD:
            return dialect, head, text
        wanted *= 4


def _one_column_notes(records: Sequence[list[str]]) -> list[str]:
    """Returns a sentence on the delimiters that most lines of a file hold, if it is read as one column."""
    texts = [record[0] for record in records if record and record[0]]
    for sign, name in DELIMITERS.items():
        least = 2 if sign == " " else 1
        holding = [text for text in texts if text.count(sign) >= least]
        if len(holding) > 0.5 * len(texts) and (sign != " " or any(map(is_valued, holding[-1].split()))):
            return [f"read as one column: if the {name} separate fields, use --set 'delimiter={json.dumps(sign)}'"]
    return []


def _width(records: Sequence[list[str]], lines: Sequence[int], path: str) -> int:
    filled = [(record, line) for record, line in zip(records, lines, strict=True) if any(record)]
    # Lines without a delimiter are a title, notes or comments where others have one.
    filled = [(record, line) for record, line in filled if len(record) > 1] or filled
    counts = Counter(len(record) for record, _ in filled)
    # The commonest; of equally common ones the largest.
    width, number = max(counts.items(), key=lambda item: (item[1], item[0]))
    few = min(max(5, 0.2 * len(filled)), max(2, 0.8 * number))
    several = sorted(width for width, count in counts.items() if count > few)
    places = {len(record): line for record, line in reversed(filled)}
    if len(several) > 1:
        shown = " and of ".join(f"{width} (from line {places[width]})" for width in several)
        raise DataError(
            f"{path}: rows of {shown} fields, expected one table. Save each table as a file of its own, or give every "
            "row the same number of fields"
        )
    if number < 0.5 * len(filled) and len(filled) > 10:
        raise DataError(
            f"{path}: rows of {len(counts)} different numbers of fields, such as {min(counts)} (line "
            f"{places[min(counts)]}) and {max(counts)} (line {places[max(counts)]}), expected one table. Give every row "
            "the same number of fields, or the file's delimiter with --set delimiter=SIGN"
        )
    return width


def _first_of_table(records: Sequence[list[str]], width: int) -> int:
    """Returns the index of the first record that belongs to the table, be it names or data."""
    for number, record in enumerate(records[:_MOST_PREAMBLE]):
        following = records[number + 1] if number + 1 < len(records) else []
        if len(record) == width - 1 and _are_names(record) and len(following) == width and not _are_names(following):
            return number  # names without one for the numbers of the rows
        if record and re.match("%|//", record[0]):
            continue  # a comment
        filled = list(filter(None, record))
        if len(record) == width and len(filled) >= min(2, width):
            return number
        if len(record) == width and filled and is_valued(filled[0]) and not _are_names(following):
            return number  # a row with one number
    return 0


def _header(records: Sequence[list[str]], start: int, width: int, config: IngestConfig) -> _Header:
    top, body = records[start], records[start + 1 :]
    is_repeated = width > 1 and body.count(top) <= max(2, 0.1 * len(body)) and not any(map(is_valued, top))
    body = [record for record in body if record != top] if is_repeated else body
    score = _header_score(top, body, width)
    if not (score > 0 if config.header is None else config.header):
        notes = [] if config.header is False else ["no line of names was found: columns are numbered from 1"]
        return _Header(None, start, notes)
    notes = []
    if config.header is None and 0 < score < 1 and body:
        shown = ", ".join(top[:3]) + (", …" if len(top) > 3 else "")
        notes.append(
            f"the first line was read as names ({shown}), and may be a row: --set header=false reads it as one"
        )
    if _is_second_header(top, body, width):
        group, names = "", []
        for above, name in zip(top, body[0], strict=True):
            group = above or group
            names.append(f"{group} {name}".strip())
        return _Header(names, start + 2, [*notes, "names come from two lines"])
    return _Header(list(top), start + 1, notes)


def _header_score(top: list[str], body: Sequence[list[str]], width: int) -> float:
    """Returns a score above 0 if a record names the columns, at least 1 if a number below a name shows it."""
    if not any(body) or len(top) < width:
        return 1.0
    score = 0.0
    body = body[: max(_LEAST_SCORED, _MOST_SCORED_FIELDS // width)]
    steps = _are_steps(top, body)
    for column, name in enumerate(top):
        values = [record[column] for record in body if len(record) == width and not is_missing(record[column])]
        if not values:
            score += 0.05 * (bool(name) and not is_valued(name))
            continue
        if sum(map(is_valued, values)) > 0.5 * len(values):
            if is_valued(name):
                score += 1 if steps else -1
            else:
                score += bool(name) and not is_missing(name)
        else:
            score += _name_score(name, values)
    return score


def _name_score(name: str, values: Sequence[str]) -> float:
    """Returns how much a text above texts speaks for a line of names: it differs from categories, or from codes."""
    if not name or name in values:
        return -0.5
    shape, number = Counter(map(_shape, values)).most_common(1)[0]
    if "9" in shape and number > 0.9 * len(values) > 2:
        return -1.0 if _shape(name) == shape else 1.0
    is_category = len(values) > 5 and len(set(values)) < 0.5 * len(values)
    return 1.0 if is_category else 0.1


def _shape(text: str) -> str:
    """Returns a text with each run of letters as A, and of digits as 9."""
    return re.sub(r"[^\W\d_]+", "A", re.sub("[0-9]+", "9", text))


def _are_steps(top: Sequence[str], body: Sequence[list[str]]) -> bool:
    """Returns whether the numbers among some fields are names: years, dates above no dates, or a count."""
    places = [place for place, name in enumerate(top) if is_valued(name)]
    names = [top[place] for place in places]
    if len(names) < 2 or len(set(names)) < len(names):
        return False
    below = [record[place] for record in body if len(record) == len(top) for place in places if record[place]]
    if all(map(_IS_YEAR.fullmatch, names)):
        return len(names) < len(top) and sum(_IS_YEAR.fullmatch(value) is not None for value in below) < 0.5 * len(
            below
        )
    if all(map(_IS_DATE.search, names)):
        return sum(_IS_DATE.search(value) is not None for value in below) < 0.5 * len(below)
    return len(names) > 4 and names in ([str(n + first) for n in range(len(names))] for first in (0, 1))


def _is_second_header(top: list[str], body: Sequence[list[str]], width: int) -> bool:
    """Returns whether the second line of a table names its columns as well: the first has groups, or the second units."""
    if width < 2 or len(body) < 2 or len(top) != width or len(body[0]) != width or any(map(is_valued, body[0])):
        return False
    below = [record for record in body[1:] if len(record) == width]
    if "" in top and all(body[0]) and len(set(body[0])) < width:
        return True
    units = False
    for column, unit in enumerate(body[0]):
        values = [record[column] for record in below if record[column] and not is_missing(record[column])]
        if unit and values and sum(map(is_valued, values)) >= _LEAST_VALUED * len(values):
            if is_missing(unit):
                return False
            units = True
    return units and len(below) > 1


def _check_header(
    records: Sequence[list[str]],
    start: int,
    header: _Header,
    lines: Sequence[int],
    width: int,
    path: str,
    config: IngestConfig,
) -> None:
    """Checks that the line above a table without names has none that do not fit it.

    Raises:
        DataError: If it has.
    """
    if not start or header.names is not None or config.header is not None:
        return
    above = [field for field in records[start - 1] if field]
    if len(above) > 0.5 * width and len(above) > 1 and not any(map(is_valued, above)):
        raise DataError(
            f"{path}, line {lines[start - 1]}: {len(records[start - 1])} names, expected {width}, the number of fields "
            "of most rows. Give each column one name, or use --set header=false to number the columns"
        )


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
    counts, numbers, result = Counter(names), dict[str, int](), dict[str, None]()
    for place, name in enumerate(names):
        new, number = name or f"column_{place + 1}", numbers.get(name, 1)
        while new in result or (number > 1 and new in counts):
            number += 1
            new = f"{name}_{number}"
        numbers[name] = number
        result[new] = None
    repeated = sorted(name for name, count in counts.items() if name and count > 1)
    notes = [f"columns of one name were numbered: {_list(repeated)}"] if repeated else []
    made = [new for name, new in zip(names, result, strict=True) if not name]
    notes += [f"columns without a name were numbered by their place: {_list(made)}"] if made else []
    return tuple(result), notes


def footnotes(rows: Sequence[list[str]], width: int) -> int:
    """Returns how many of the last rows are notes below the table: from a text in one field, where rows fill several."""
    notes = 0
    for number, row in enumerate(reversed(rows[-MOST_FOOTNOTES:] if width > 1 else []), 1):
        filled = [field for field in row if field]
        if len(row) == width and (len(filled) > 1 or width == 2 or (filled and is_valued(filled[0]))):
            break
        # Blank lines above the notes go with them; rows of another width do not.
        if len(filled) == 1 and not is_valued(filled[0]):
            notes = number
        elif not filled and notes == number - 1:
            notes = number if notes else 0
    return notes


def is_comment(record: Sequence[str], width: int) -> bool:
    """Returns whether a record is a comment: it begins with # and has another number of fields than a row."""
    return bool(record) and re.match(r"#", record[0]) is not None and len(record) != width


def _list(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _rows(number: int) -> str:
    return f"{number} line{'s' * (number != 1)}"


def _shown(records: Sequence[list[str]]) -> str:
    """Returns the text of the first records that have one."""
    text = " ".join(field for record in records for field in record if field)
    return f": {text[:60]!r}" if text else ""
