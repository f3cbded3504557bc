"""Records of a delimited text file, piece by piece: plain ones by Arrow, those with unusual quotes by `csv`.

Both give the same fields. A piece is plain if its records are its lines, and each of its quotes opens or closes a field.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from pipelines.data.sources.tables.dialect import Block, Dialect
from pipelines.data.sources.tables.layout import MOST_FOOTNOTES, Layout

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight

_PIECE_BYTES, _PIECE_LINES = 1 << 20, MOST_FOOTNOTES + 14
"""Least size of a piece."""
_BLANKS = b" \t\v\f\x1c\x1d\x1e\x1f"


class Plain(NamedTuple):
    """Neighbouring records of one line each, all as wide as a row, and more than notes below a table can be."""

    rows: pa.RecordBatch
    """Fields of each record, without blanks around them."""
    first_line: int
    """Number of the first line, from 1."""


def read_records(pieces: Iterator[bytes], layout: Layout) -> Iterator[Block | Plain]:
    """Yields the records of a text; the first and the last ones are never plain.

    Args:
        pieces: The text, as UTF-8.
        layout: Layout of the file.
    """
    reader = _PlainReader(layout)
    line, rest = 0, ""
    for piece, is_last in _whole_lines(pieces):
        plain = None if not line or rest or is_last else reader.read(piece)
        if plain is not None:
            yield Plain(plain, line + 1)
            line += len(plain)
            continue
        text = rest + piece.decode()
        block = layout.dialect.read(text, is_cut=not is_last)
        rest = block.rest
        yield _numbered(block, layout.dialect, text[: len(text) - len(rest)], line)
        line += block.num_lines


def _numbered(block: Block, dialect: Dialect, text: str, before: int) -> Block:
    """Returns a block with the lines of its quotes inside of words, and all lines counted from the first of the file."""
    known = set(block.mended)
    inner = [line for line in dialect.inner_quotes(text) if line not in known] if dialect.quote in text else []
    lines, mended, inner = ([before + line for line in some] for some in (block.lines, block.mended, inner))
    return block._replace(lines=lines, mended=mended, inner=inner)


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yields a text in pieces that end where a line does, and whether each is the last, which is no smaller than others."""
    ready, held, num_bytes, num_lines = b"", list[bytes](), 0, 0
    end = b""
    for piece in pieces:
        # Lines may end in CR alone.
        end = end or (b"\n" if b"\n" in piece else b"\r" if b"\r" in piece else b"")
        held.append(piece)
        num_bytes, num_lines = num_bytes + len(piece), num_lines + (piece.count(end) if end else 0)
        if num_bytes < _PIECE_BYTES or num_lines < _PIECE_LINES:
            continue
        whole = b"".join(held)
        # A CR at the end may be half of a line end.
        stop = whole.rfind(end, 0, len(whole) - (end == b"\r")) + 1
        stop += whole[stop : stop + 1] == b"\n"
        if ready:
            yield ready, False
        ready, held, num_bytes, num_lines = whole[:stop], [whole[stop:]], len(whole) - stop, 0
    yield ready + b"".join(held), True


class _PlainReader:
    """A reader of plain pieces.

    Args:
        layout: Layout of the file.
    """

    def __init__(self, layout: Layout) -> None:
        dialect = layout.dialect
        self._delimiter, self._quote = dialect.delimiter.encode(), dialect.quote.encode()
        self._escape = dialect.escape.encode()
        self._blanks = _BLANKS.replace(self._delimiter, b"")
        self._names = [str(place) for place in range(layout.width)]
        # A run of blanks is one delimiter, for `csv` alone.
        self._is_able = len(self._delimiter) == 1 and self._delimiter != b" "
        self._strings = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(self._names, pa.string()), strings_can_be_null=False, check_utf8=False
        )

    def read(self, piece: bytes) -> pa.RecordBatch | None:
        """Returns the records of a piece without blanks around their fields; None if it is not plain."""
        has_quotes = self._quote in piece
        if not (
            self._is_able
            and not (self._escape and self._escape in piece)
            and piece.count(b"\r") == piece.count(b"\r\n")
            and not (has_quotes and not self._has_plain_quotes(piece))
            and not piece.startswith(codecs.BOM_UTF8)
        ):
            return None
        parse = pyarrow.csv.ParseOptions(
            delimiter=self._delimiter.decode(),
            quote_char=self._quote.decode() if has_quotes else False,
            double_quote=False,
            ignore_empty_lines=False,
        )
        whole = pyarrow.csv.ReadOptions(use_threads=False, block_size=len(piece) + 1, column_names=self._names)
        try:
            table = pyarrow.csv.read_csv(pa.BufferReader(piece), whole, parse, self._strings)
        except pa.ArrowInvalid:
            return None  # a record of another width
        columns = [column.combine_chunks() for column in table.columns]
        if not piece.isascii() or len(piece.translate(None, self._blanks)) < len(piece):
            columns = [pc.utf8_trim_whitespace(column) for column in columns]
        return pa.RecordBatch.from_arrays(columns, self._names)

    def _has_plain_quotes(self, piece: bytes) -> bool:
        """Returns whether every quote opens a field at its beginning, or closes it at its end, in the same line."""
        signs = np.frombuffer(piece, np.uint8)
        [places] = np.nonzero(signs == self._quote[0])
        opening, closing = places[::2], places[1::2]
        before = signs[opening - 1]  # the last sign of a piece ends a line
        after = signs[closing + 1]
        borders = np.array([*self._delimiter, *b"\r\n"], np.uint8)
        if len(opening) != len(closing) or not (np.isin(before, borders).all() and np.isin(after, borders).all()):
            return False
        ends = np.flatnonzero(signs == ord("\n"))
        return bool((np.searchsorted(places, ends) % 2 == 0).all())
