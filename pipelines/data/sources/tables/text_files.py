"""Delimited text files: CSV and its relatives. Every value is read as text first, and then understood by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.tables.dialect import Block
from pipelines.data.sources.tables.encoding import COMPRESSIONS, TextFile
from pipelines.data.sources.tables.layout import MOST_FOOTNOTES, Layout, find_layout, footnotes, is_comment
from pipelines.data.sources.tables.raw import Places, RawTable
from pipelines.data.sources.tables.records import Plain, read_records
from pipelines.data.sources.tables.spill import Spill, check_room
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

SUFFIXES = tuple(
    ending + compression for ending in (".csv", ".tsv", ".txt", ".tab", ".psv") for compression in ("", *COMPRESSIONS)
)
_SHOWN_TEXT = 80


def read(file: BinaryIO, path: str, config: IngestConfig) -> RawTable:
    """Returns a file's rows as text, with what was found about its layout; a row of another width is empty.

    Raises:
        DataError: If the file is no delimited text, or the disk is too full for its rows.
    """
    text = TextFile(file, path, config.max_memory_bytes)
    layout, found = find_layout(text.pieces(), path, config)
    # Four bytes for where each field begins take the place of its delimiter.
    check_room(path, round(text.num_bytes * (1 + 3 / layout.field_chars)))
    rows = _Sorter(layout, path)
    rows.add_all(read_records(text.pieces(), layout))
    if not len(rows.places):
        raise DataError(
            f"{path}: 0 examples. The file has a line of names and no rows. "
            "If the line is a row, use --set header=false"
        )
    malformed = np.zeros(len(rows.places), bool)
    malformed[[row for row, _ in rows.problems]] = True
    problems = tuple(problem for _, problem in rows.problems)
    said = (*text.notes, *found, *rows.notes)
    return RawTable(rows.table(), rows.places, malformed, problems, said, is_text=True)


class _Sorter:
    """Sorts the records of a file into rows, and lines that are none.

    Args:
        layout: Layout of the file.
        path: Name of the file, for messages.
    """

    def __init__(self, layout: Layout, path: str) -> None:
        self.layout, self.path = layout, path
        self._spill = Spill(pa.schema([(name, pa.string()) for name in layout.names]))
        self.places = Places()
        """Line of each row."""
        self.problems: list[tuple[int, Problem]] = []
        """Rows of another width, and their problems."""
        self._left_out: Counter[str] = Counter()
        self._mended: list[int] = []
        """Lines with quotes that do not pair."""
        self._inner: list[int] = []
        """Lines with a quote inside of a word."""
        self._spans: list[int] = []
        """Lines of records with a quoted field that may have taken rows."""

    @property
    def notes(self) -> list[str]:
        """Sentences on what was left out, and on quotes."""
        said = [f"left out: {number:,} × {what}" for what, number in self._left_out.items()]
        for lines, what in (
            (self._mended, "quotes that do not pair were read as text"),
            (self._inner, "quotes inside of words were read as text"),
            (self._spans, "a quoted field holds several lines that look like rows"),
        ):
            more = f", and in {len(lines) - 1:,} more" if len(lines) > 1 else ""
            said += [f"line {lines[0]}{more}: {what}"] if lines else []
        return said

    def add_all(self, records: Iterator[Block | Plain]) -> None:
        """Sorts the records of a file."""
        rows, lines, skipped = list[list[str]](), list[int](), self.layout.first
        for block in records:
            # Notes below the table are looked for among the last rows, which are not plain.
            if isinstance(block, Plain) or len(block.rows) > MOST_FOOTNOTES:
                self._add_block(rows, lines)
                rows, lines = [], []
            if isinstance(block, Plain):
                self._add_plain(block)
                continue
            rows, lines = rows + block.rows[skipped:], lines + list(block.lines)[skipped:]
            skipped = max(0, skipped - len(block.rows))
            self._mended += block.mended
            self._inner += block.inner
        last = [[field.strip() for field in row] for row in rows[-MOST_FOOTNOTES:]]
        if number := footnotes(last, self.layout.width):
            self._left_out["line outside of the table"] += number
            rows, lines = rows[:-number], lines[:-number]
        self._add_block(rows, lines)

    def _add_plain(self, block: Plain) -> None:
        lines = range(block.first_line, block.first_line + len(block.rows))
        nothing = [""] * self.layout.width
        if any(_holds(block.rows, fields) for fields in (nothing, self.layout.written) if fields):
            self._add_block(list(zip(*(column.to_pylist() for column in block.rows.columns), strict=True)), lines)
            return
        self.places.extend(lines)
        self._spill.write(pa.RecordBatch.from_arrays(block.rows.columns[: len(self.layout.names)], self.layout.names))

    def _add_block(self, rows: Sequence[Sequence[str]], lines: Sequence[int]) -> None:
        width, written = self.layout.width, self.layout.written
        first = {"", *written[:1]}
        odd = [
            place
            for place, row in enumerate(rows)
            if len(row) != width or row[0].strip() in first or row[0][:1] == "#"
        ]  # fmt: skip
        if odd:
            out = self._left_out_of(rows, odd)
            kept = [place for place in range(len(rows)) if place not in out]
            lines = [lines[place] for place in kept]
            rows = [self._row(rows[place], lines[number], number) for number, place in enumerate(kept)]
        if not rows:
            return
        if lines[-1] - lines[0] >= len(lines):
            self._note_spans(rows, lines)
        self.places.extend(lines)
        columns = islice(zip(*rows, strict=True), len(self.layout.names))
        trimmed = [pc.utf8_trim_whitespace(pa.array(column, pa.string())) for column in columns]
        self._spill.write(pa.RecordBatch.from_arrays(trimmed, self.layout.names))

    def table(self) -> pa.Table:
        """Returns all rows as text, without blanks around it."""
        return self._spill.table()

    def _left_out_of(self, rows: Sequence[Sequence[str]], odd: Sequence[int]) -> set[int]:
        """Returns the places of records that are no rows, and counts them."""
        out: set[int] = set()
        for place in odd:
            fields = [field.strip() for field in rows[place]]
            if not any(fields):
                what = "blank line"
            elif is_comment(fields, self.layout.width):
                what = "comment line"
            elif self.layout.written and fields == self.layout.written:
                what = "repeated line of names"
                out |= self._titles(rows, place, out)
            else:
                continue
            out.add(place)
            self._left_out[what] += 1
        return out

    def _titles(self, rows: Sequence[Sequence[str]], place: int, out: set[int]) -> set[int]:
        """Returns the places of the lines above repeated names that are their title, and counts them."""
        titles: set[int] = set()
        for above in range(place - 1, -1, -1):
            if above in out:
                continue
            if self.layout.width == 1 or sum(map(bool, map(str.strip, rows[above]))) != 1:
                break
            titles.add(above)
        self._left_out.update(["line outside of the table"] * len(titles))
        return titles

    def _row(self, fields: Sequence[str], line: int, place: int) -> Sequence[str]:
        if len(fields) == self.layout.width:
            return fields
        if len(fields) == len(self.layout.names):
            return [*fields, ""]
        what = f"expected {self.layout.width} fields, found {len(fields)}"
        shown = self.layout.dialect.delimiter.join(fields)[:_SHOWN_TEXT]
        self.problems.append((len(self.places) + place, Problem(self.path, what, line, text=shown)))
        return [""] * self.layout.width

    def _note_spans(self, rows: Sequence[Sequence[str]], lines: Sequence[int]) -> None:
        delimiters, sign = self.layout.width - 1, self.layout.dialect.delimiter
        for row, line in zip(rows, lines, strict=True):
            for field in row:
                inner = field.splitlines()[1:-1] if "\n" in field or "\r" in field else []
                if delimiters and inner and all(text.count(sign) == delimiters for text in inner):
                    self._spans.append(line)


def _holds(rows: pa.RecordBatch, fields: Sequence[str]) -> bool:
    """Returns whether one of some rows has exactly these fields."""
    same: Any = None
    for column, text in zip(rows.columns, fields, strict=True):
        equal = pc.equal(column, text)
        same = equal if same is None else pc.and_(same, equal)
        if not pc.any(same).as_py():
            return False
    return True
