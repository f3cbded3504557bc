"""Delimited text files: CSV and its relatives. Every value is read as text first, and then understood by column."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.tables.dialect import Block
from pipelines.data.sources.tables.encoding import COMPRESSIONS, decoded, decompressed
from pipelines.data.sources.tables.layout import MOST_FOOTNOTES, Layout, find_layout, footnotes, is_comment
from pipelines.data.sources.tables.raw import RawTable
from pipelines.data.sources.tables.spill import Spill
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

SUFFIXES = tuple(
    ending + compression for ending in (".csv", ".tsv", ".txt", ".tab", ".psv") for compression in ("", *COMPRESSIONS)
)
_SHOWN_TEXT = 80
_SPILLED_ROWS = 1 << 14


def read(data: bytes, path: str, config: IngestConfig) -> RawTable:
    """Returns a file's rows as text, with what was found about its layout; a row of another width is empty.

    Raises:
        DataError: If the file is no delimited text.
    """
    text, notes = decoded(decompressed(data, path, config.max_memory_bytes), path)
    layout, found = find_layout(text, path, config)
    rows = _Sorter(layout, path)
    rows.add_all(layout.dialect.blocks(text))
    rows.inner = [line for line in layout.dialect.inner_quotes(text) if line not in rows.mended]
    if not rows.lines:
        raise DataError(
            f"{path}: 0 examples. The file has a line of names and no rows. "
            "If the line is a row, use --set header=false"
        )
    malformed = np.zeros(len(rows.lines), bool)
    malformed[[row for row, _ in rows.problems]] = True
    table = rows.table()
    problems = tuple(problem for _, problem in rows.problems)
    said = (*notes, *found, *rows.notes)
    return RawTable(table, np.frombuffer(rows.lines, np.int64), malformed, problems, said, is_text=True)


class _Sorter:
    """Sorts the records of a file into rows, and lines that are none.

    Args:
        layout: Layout of the file.
        path: Name of the file, for messages.
    """

    def __init__(self, layout: Layout, path: str) -> None:
        self.layout, self.path = layout, path
        self._blocks: list[pa.RecordBatch] = []
        self._spill = Spill(pa.schema([(name, pa.string()) for name in layout.names]))
        self._num_written = 0
        self.lines = array("q")
        """Line of each row."""
        self.problems: list[tuple[int, Problem]] = []
        """Rows of another width, and their problems."""
        self._left_out: Counter[str] = Counter()
        self.mended: list[int] = []
        """Lines with quotes that do not pair."""
        self.inner: list[int] = []
        """Lines with a quote inside of a word."""
        self._spans: list[int] = []
        """Lines of records with a quoted field that may have taken rows."""

    @property
    def notes(self) -> list[str]:
        """Sentences on what was left out, and on quotes."""
        said = [f"left out: {number:,} × {what}" for what, number in self._left_out.items()]
        for lines, what in (
            (self.mended, "quotes that do not pair were read as text"),
            (self.inner, "quotes inside of words were read as text"),
            (self._spans, "a quoted field holds several lines that look like rows"),
        ):
            more = f", and in {len(lines) - 1:,} more" if len(lines) > 1 else ""
            said += [f"line {lines[0]}{more}: {what}"] if lines else []
        return said

    def add_all(self, blocks: Iterator[Block]) -> None:
        """Sorts the records of a file."""
        pending = next(blocks, Block([], [], []))
        rows, lines = pending.rows[self.layout.first :], pending.lines[self.layout.first :]
        self.mended += pending.mended
        for block in blocks:
            # Notes below the table are looked for among the last rows.
            if len(block.rows) > MOST_FOOTNOTES:
                self._add_block(rows, lines)
                rows, lines = [], []
            rows, lines = rows + block.rows, lines + block.lines
            self.mended += block.mended
        last = [[field.strip() for field in row] for row in rows[-MOST_FOOTNOTES:]]
        if number := footnotes(last, self.layout.width):
            self._left_out["line outside of the table"] += number
            rows, lines = rows[:-number], lines[:-number]
        self._add_block(rows, lines)

    def _add_block(self, rows: list[list[str]], lines: list[int]) -> None:
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
        self.lines.extend(lines)
        columns = [pa.array(column, pa.string()) for column in islice(zip(*rows, strict=True), len(self.layout.names))]
        self._blocks.append(pa.RecordBatch.from_arrays(columns, schema=self._spill.schema))
        if len(self.lines) - self._num_written >= _SPILLED_ROWS:
            self._write()

    def _write(self) -> None:
        rows = pa.Table.from_batches(self._blocks, self._spill.schema).combine_chunks()
        trimmed = [pc.utf8_trim_whitespace(column.combine_chunks()) for column in rows.columns]
        self._spill.write(pa.RecordBatch.from_arrays(trimmed, schema=self._spill.schema))
        self._blocks, self._num_written = [], len(self.lines)

    def table(self) -> pa.Table:
        """Returns all rows as text, without blanks around it."""
        self._write()
        return self._spill.table()

    def _left_out_of(self, rows: Sequence[list[str]], odd: Sequence[int]) -> set[int]:
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

    def _titles(self, rows: Sequence[list[str]], place: int, out: set[int]) -> set[int]:
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

    def _row(self, fields: list[str], line: int, place: int) -> list[str]:
        if len(fields) == self.layout.width:
            return fields
        if len(fields) == len(self.layout.names):
            return [*fields, ""]
        what = f"expected {self.layout.width} fields, found {len(fields)}"
        shown = self.layout.dialect.delimiter.join(fields)[:_SHOWN_TEXT]
        self.problems.append((len(self.lines) + place, Problem(self.path, what, line, text=shown)))
        return [""] * self.layout.width

    def _note_spans(self, rows: Sequence[list[str]], lines: Sequence[int]) -> None:
        delimiters, sign = self.layout.width - 1, self.layout.dialect.delimiter
        for row, line in zip(rows, lines, strict=True):
            for field in row:
                inner = field.splitlines()[1:-1] if "\n" in field or "\r" in field else []
                if delimiters and inner and all(text.count(sign) == delimiters for text in inner):
                    self._spans.append(line)
