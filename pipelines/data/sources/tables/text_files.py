"""Delimited text files: CSV and its relatives. Every value is read as text first, and then understood by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.tables.encoding import COMPRESSIONS, decoded, decompressed
from pipelines.data.sources.tables.layout import Layout, Record, find_layout, footnotes, is_comment
from pipelines.data.sources.tables.raw import RawTable
from vae.errors import DataError

SUFFIXES = tuple(
    ending + compression for ending in (".csv", ".tsv", ".txt", ".tab", ".psv") for compression in ("", *COMPRESSIONS)
)
_BLOCK = 1 << 14
_SHOWN_TEXT = 80


def read(data: bytes, path: str, config: IngestConfig) -> RawTable:
    """Returns a file's rows as text, with what was found about its layout; a row of another width is empty.

    Raises:
        DataError: If the file is no delimited text.
    """
    text, notes = decoded(decompressed(data, path, config.max_memory_bytes), path)
    layout, found = find_layout(text, path, config)
    records = islice(layout.records(text), layout.first, None)
    rows = _Sorter(layout, path)
    rows.add_all(records)
    if not rows.lines:
        raise DataError(f"{path}: 0 examples. The file has a header and no rows")
    malformed = np.zeros(len(rows.lines), bool)
    malformed[[row for row, _ in rows.problems]] = True
    table = pa.Table.from_batches(rows.blocks, pa.schema([(name, pa.string()) for name in layout.names]))
    problems = tuple(problem for _, problem in rows.problems)
    said = (*notes, *found, *rows.notes)
    return RawTable(table, np.array(rows.lines, np.int64), malformed, problems, said, is_text=True)


class _Sorter:
    """Sorts the records of a file into rows, and lines that are none.

    Args:
        layout: Layout of the file.
        path: Name of the file, for messages.
    """

    def __init__(self, layout: Layout, path: str) -> None:
        self.layout, self.path = layout, path
        self.blocks: list[pa.RecordBatch] = []
        self.lines: list[int] = []
        """Line of each row."""
        self.problems: list[tuple[int, Problem]] = []
        """Rows of another width, and their problems."""
        self._left_out: Counter[str] = Counter()

    @property
    def notes(self) -> list[str]:
        """Sentences on what was left out."""
        return [f"left out: {number:,} × {what}" for what, number in self._left_out.items()]

    def add_all(self, records: Iterator[Record]) -> None:
        """Sorts records, some thousands at a time."""
        pending = list(islice(records, _BLOCK))
        while pending:
            following = list(islice(records, _BLOCK))
            if not following and (number := footnotes([fields for _, fields in pending], self.layout.width)):
                self._left_out["line outside of the table"] += number
                pending = pending[: len(pending) - number]
            self._add_block(pending)
            pending = following

    def _add_block(self, records: Sequence[Record]) -> None:
        rows: list[list[str]] = []
        for line, fields in records:
            if not any(fields):
                self._left_out["blank line"] += 1
            elif is_comment(fields, self.layout.width):
                self._left_out["comment line"] += 1
            elif self.layout.written and fields == self.layout.written:
                self._left_out["repeated line of names"] += 1
                self._drop_titles(rows)
            else:
                rows.append(self._row(line, fields))
                self.lines.append(line)
        if rows:
            columns = [pa.array(column) for column in zip(*rows, strict=True)][: len(self.layout.names)]
            self.blocks.append(pa.RecordBatch.from_arrays(columns, names=list(self.layout.names)))

    def _drop_titles(self, rows: list[list[str]]) -> None:
        """Removes the lines above repeated names that are their title."""
        while rows and self.layout.width > 1 and sum(map(bool, rows[-1])) == 1:
            rows.pop()
            self.lines.pop()
            self._left_out["line outside of the table"] += 1

    def _row(self, line: int, fields: list[str]) -> list[str]:
        if len(fields) == self.layout.width:
            return fields
        if len(fields) == len(self.layout.names):
            return [*fields, ""]
        what = f"expected {self.layout.width} fields, found {len(fields)}"
        shown = self.layout.delimiter.join(fields)[:_SHOWN_TEXT]
        self.problems.append((len(self.lines), Problem(self.path, what, line, text=shown)))
        return [""] * self.layout.width
