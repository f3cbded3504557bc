"""The dialect of a delimited text file, and its records.

A dialect is chosen by how alike it makes the rows of a sample, and how many of their fields are numbers, dates or plain
words. A line whose quotes do not pair is read by itself, so that its quote cannot take the lines below into one field.

References:
    Van den Burg, Nazábal & Sutton, Wrangling Messy CSV Files by Detecting Row and Type Patterns (2019).
    https://arxiv.org/abs/1811.11242
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from pipelines.data.sources.tables.values import is_valued

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks", "^": "carets", "~": "tildes"}
"""Delimiters that are looked for, and their names."""
ONE_COLUMN = "\x1f"
"""Delimiter of a file with one column: a character that no text holds."""
_OPEN = "unexpected end of data"
"""Error of `csv` where a quote is open at the end."""
_MOST_FIELD_CHARS = 1 << 24
"""Length from which on an open quote is taken for one that does not pair."""
_SAMPLE_CHARS, _SAMPLE_RECORDS, _SAMPLE_CELLS = 1 << 17, 200, 4000
# A file of one column scores as much as two columns of words in half of the lines.
_ONE_COLUMN_SCORE = 0.12
# Words have blanks between them as well.
_BLANKS_FACTOR = 0.6
_WORDS = re.compile(r"[^\W_][\w .'’()/&:%#@+*=!?-]*")
_NAME = re.compile(r"[^\W\d][\w .()/%-]{0,40}")
_TIME = re.compile("[0-9]{1,2}:[0-9]{2}.*")
_PIECE_CHARS = 1 << 20
_LINE_END = re.compile("\r\n|\r|\n")


class Block(NamedTuple):
    """Neighbouring records of a file."""

    rows: list[list[str]]
    """Fields of each record, with the blanks around them."""
    lines: list[int]
    """Number of the first line of each record, from 1."""
    mended: list[int]
    """Lines whose quotes do not pair."""
    inner: Sequence[int] = ()
    """Lines with a quote inside of a word."""
    num_lines: int = 0
    """Number of the lines of all records."""
    rest: str = ""
    """Text of a record that is not whole, at the end of a text that goes on."""


@dataclass(frozen=True)
class Dialect:
    """The signs of a delimited text file."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    """Sign before a quote or a delimiter that is text; empty if there is none."""

    def read(self, text: str, *, most: int | None = None, is_cut: bool = False) -> Block:
        """Returns the records of a text. A quoted field may span lines.

        Args:
            text: The text, with its line ends.
            most: Largest number of records to read; None for all.
            is_cut: Whether the text goes on; a quote that is open at its end is then no fault, unless its field would be
                longer than any.
        """
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        block = Block([], [], [])
        lines: list[str] = []
        reader, before, end = self._reader(_lines(text)), 0, 0
        while True:
            rows: list[list[str]] = []
            fault = ""
            try:
                rows.extend(reader if most is None else islice(reader, most - len(block.rows)))
            except csv.Error as error:
                fault = str(error)
            numbers, end = _numbers(rows, end, None if fault else before + reader.line_num)
            # A run of blanks is one delimiter.
            block.rows.extend([[f for f in row if f] for row in rows] if self.delimiter == " " else rows)
            block.lines.extend(numbers)
            if not fault:
                return block._replace(num_lines=end)
            lines = lines or list(_lines(text))
            if is_cut and fault == _OPEN and len(rest := "".join(lines[end:])) < _MOST_FIELD_CHARS:
                return block._replace(rest=rest, num_lines=end)
            self._mend(lines[end], end + 1, block)
            before = end = end + 1
            if len(block.rows) == most:
                return block._replace(num_lines=end)
            reader = self._reader(map(lines.__getitem__, range(end, len(lines))))

    def inner_quotes(self, text: str) -> list[int]:
        """Returns the lines with a quote inside of a word, which neither opens nor closes a field."""
        sign = rf"[^{re.escape(self.delimiter + self.quote)}\\\s]"
        found = re.finditer(rf"{self.quote}(?<={sign}.)(?={sign})", text)
        lines, line, end = list[int](), 1, 0
        for match in found:
            line, end = line + len(_LINE_END.findall(text, end, match.start())), match.start()
            lines += [] if lines[-1:] == [line] else [line]
        return lines

    def _reader(self, lines: Iterable[str], escape: str = "") -> Any:
        escape = escape or self.escape
        if escape:
            # Before any other sign it is text.
            signs = (escape, self.quote, self.delimiter)
            pair = re.compile(rf"{re.escape(escape)}([^\r\n])")
            lines = (pair.sub(lambda m: m[0] if m[1] in signs else m[0][0] + m[0], line) for line in lines)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=escape or None,
            skipinitialspace=self.delimiter != " ",
            strict=True,
        )

    def _mend(self, line: str, number: int, block: Block) -> None:
        """Adds the record of a line whose quotes do not pair."""
        line = _LINE_END.sub("", line)
        block.lines.append(number)
        delimiter = re.escape(self.delimiter)
        end = rf" *{delimiter}"
        # Blanks after a closing quote are no fault.
        for text, escape in ((re.sub(rf"{self.quote} +(?={end}|$)", self.quote, line), ""), (line, "\\")):
            try:
                block.rows.append(next(self._reader([text], escape), []))
                return
            except csv.Error:
                block.mended.extend([] if escape else [number])
        # A quote closes a field only before a delimiter or the end of the line, and opens one only after a delimiter.
        inside = rf"(?:(?!{delimiter}{self.quote})[^{self.quote}]|{self.quote}(?!{end}))*"
        field = re.compile(rf" *(?:{self.quote}({inside}){self.quote}{end}|([^{delimiter}]*){end})")
        found = field.findall(line + self.delimiter)
        block.rows.append([(quoted or plain).replace(self.quote * 2, self.quote) for quoted, plain in found])


def _lines(text: str) -> Iterator[str]:
    """Yields the lines of a text with their ends. In pieces: a whole `StringIO` takes four bytes for each character."""
    start = 0
    while start < len(text):
        middle = start + _PIECE_CHARS
        end = text.find("\n", middle)
        if end < 0:
            end = text.find("\r", middle)  # lines may end in CR alone
        stop = len(text) if end < 0 else end + 1
        yield from io.StringIO(text[start:stop], newline="")
        start = stop


def _numbers(rows: Sequence[list[str]], before: int, end: int | None) -> tuple[Sequence[int], int]:
    """Returns the number of the first line of each record, and the number of lines before and in them.

    Args:
        rows: The records.
        before: Number of lines before them.
        end: Number of lines before and in them, if it is known.
    """
    if end is not None and end == before + len(rows):
        return range(before + 1, end + 1), end
    numbers: list[int] = []
    for row in rows:
        numbers.append(before + 1)
        before += 1 + sum(len(_LINE_END.findall(field)) for field in row)
    return numbers, before if end is None else end


def find_dialect(text: str, delimiter: str | None) -> Dialect:
    """Returns the dialect of a text.

    Args:
        text: The text.
        delimiter: The delimiter, if it is known.
    """
    # As Excel marks it.
    marked = re.match("(?i)sep=(.)[\r\n]", text)
    delimiter = delimiter or (marked[1] if marked else None)
    is_cut = len(text) > _SAMPLE_CHARS
    sample = text[:_SAMPLE_CHARS]
    sample = sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1] or sample if is_cut else sample
    signs = [delimiter] if delimiter else [ONE_COLUMN, *(sign for sign in DELIMITERS if sign in sample)]
    scores = {dialect: _score(dialect, sample, is_cut) for sign in signs for dialect in _dialects(sign, sample)}
    return max(scores, key=lambda dialect: scores[dialect])


def _dialects(delimiter: str, sample: str) -> Iterator[Dialect]:
    """Yields the dialects with a delimiter for which something in a sample speaks, the likelier ones first."""
    before, after = rf"(?:^|{re.escape(delimiter)}) *", rf" *(?:{re.escape(delimiter)}|$)"
    single = re.findall(rf"{before}'(?:[^'\n]|'')*'(?={after})", _LINE_END.sub("\n", sample), re.MULTILINE)
    for quote in ('"', "'") if len(single) > ('"' in sample) else ('"',):
        if "\\" + quote in sample or "\\" + delimiter in sample:
            yield Dialect(delimiter, quote, "\\")
        yield Dialect(delimiter, quote)


def _score(dialect: Dialect, sample: str, is_cut: bool) -> float:
    """Returns how well a dialect fits a sample, from 0 to about 1."""
    block = dialect.read(sample, most=_SAMPLE_RECORDS, is_cut=is_cut)
    rows = [fields for fields in ([field.strip() for field in row] for row in block.rows) if any(fields)]
    rows = [row for row in rows if not row[0].startswith("#") or len(row) > 1]
    if dialect.delimiter == ONE_COLUMN:
        quoted = sum(re.match("(['\"]).*\\1$", row[0]) is not None for row in rows)
        return _ONE_COLUMN_SCORE * (1 - 0.5 * min(1, (len(block.mended) + quoted) / max(1, len(rows))))
    wide = [place for place, row in enumerate(rows) if len(row) > 1]
    if not wide or (dialect.delimiter == "," and _is_decimals(rows[: wide[0]], rows[wide[0] :])):
        return 0.0
    # Lines without a delimiter above and below may be a title and notes.
    table = rows[wide[0] : wide[-1] + 1]
    counts = Counter(map(len, table))
    width = max(counts, key=lambda width: (counts[width] if width > 1 else 0, width))
    cells = [field for row in table if len(row) == width for field in row]
    cells = cells[:: 1 + len(cells) // _SAMPLE_CELLS]
    valued = sum(map(is_valued, cells)) / len(cells)
    words = sum(_WORDS.fullmatch(cell) is not None or not cell for cell in cells if not is_valued(cell)) / len(cells)
    alike = counts[width] / len(table) * (1 - 0.5 * min(1, len(block.mended) / len(table)))
    if dialect.delimiter == " ":
        return 0.0 if valued < 0.5 or _is_times(table) else _BLANKS_FACTOR * alike**2 * valued * (width - 1) / width
    score = alike**2 * len(table) / len(rows) * (valued + 0.75 * words + 0.05) * (width - 1) / width
    # A line of names without other signs says most of a small or ragged file.
    is_prose = f"{dialect.delimiter} " in sample
    has_names = not is_prose and alike > 0.3 and len(table[0]) == width and all(map(_NAME.fullmatch, table[0]))
    return max(score, _ONE_COLUMN_SCORE * (1 + alike) if has_names else 0.0)


def _is_decimals(above: Sequence[list[str]], table: Sequence[list[str]]) -> bool:
    """Returns whether the commas of a file are those of decimals, in one column with a name that has none."""
    return bool(above) and all(len(row) == 2 and all(map(str.isdigit, row)) for row in table)


def _is_times(table: Sequence[list[str]]) -> bool:
    """Returns whether the blanks of a file stand between the date and the time of its only column."""
    times = sum(len(row) == 2 and _TIME.fullmatch(row[1]) is not None for row in table)
    return max(map(len, table)) == 2 and times > 0.5 * len(table)
