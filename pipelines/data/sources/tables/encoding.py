"""Bytes of a text file to its text: compression and encoding are found, and what was found is said.

A file is read in pieces, more than once, so that its size does not matter.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from pipelines.data.sources.config import MEMORY_ADVICE
from vae.errors import DataError

COMPRESSIONS = (".gz", ".zst")
"""Endings of compressed files."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_MAGIC = {
    b"\x1f\x8b": "compressed by gzip. Let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard. Let its name end in .zst",
    b"PK\x03\x04": "an archive or a workbook. Unpack it, or let its name end in .xlsx",
    b"\xd0\xcf\x11\xe0": "an old workbook. Save it as .xlsx",
    b"PAR1": "a Parquet file. Let its name end in .parquet",
}
"""First bytes of other formats, and what to do."""
_CHUNK = 1 << 20
_CONTROLS = re.compile("[\x80-\x9f]")
_BAD_BYTES, _BEYOND_ASCII = re.compile("[\udc80-\udcff]"), re.compile("[^\\x00-\\x7f]")
_BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# Five bytes mean nothing in Windows-1252, and a control character in Latin-1.
_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_SAMPLE = 1 << 16


def decompressed(data: bytes, path: str, limit: int) -> bytes:
    """Returns the content of a file, unfolded where its name ends in one of `COMPRESSIONS`.

    Raises:
        DataError: If the file is damaged, or unfolds to more bytes than the limit.
    """
    return b"".join(unfolded(io.BytesIO(data), path, limit)) if path.lower().endswith(COMPRESSIONS) else data


def unfolded(file: BinaryIO, path: str, limit: int) -> Iterator[bytes]:
    """Yields the content of a file from its beginning, unfolded where its name ends in one of `COMPRESSIONS`.

    Raises:
        DataError: If the file is damaged, or unfolds to more bytes than the limit.
    """
    file.seek(0)
    stream: Any = file
    size = 0
    try:
        if path.lower().endswith(".gz"):
            stream = gzip.GzipFile(fileobj=file)
        elif path.lower().endswith(".zst"):
            # Arrow would close the file itself.
            kept = SimpleNamespace(read=file.read, close=lambda: None, closed=False)
            stream = pa.CompressedInputStream(pa.PythonFile(kept, "r"), "zstd")
        while piece := stream.read(_CHUNK):
            size += len(piece)
            if size > limit:
                raise DataError(f"{path}: unfolds to more than the limit of {limit:,} bytes. {MEMORY_ADVICE}")
            yield piece
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be unfolded: {error}. Fetch or write it again") from error


class _Encoding(NamedTuple):
    """Encoding of a file."""

    name: str
    errors: str = "strict"
    """Handler of bytes that are none of the encoding."""
    skipped: int = 0
    """Bytes of the byte order mark."""
    notes: tuple[str, ...] = ()
    num_bytes: int | None = None
    """Size of the text; None if it was not read."""


class TextFile:
    """A text file, with line ends as they are, and one sentence for each thing that was not plain UTF-8.

    UTF-8, UTF-16 and UTF-32 with a byte order mark, UTF-16 without one where every second byte is 0, else UTF-8, else
    Windows-1252, which holds all printable characters of Latin-1.

    Args:
        file: The file.
        path: Name of the file, for messages.
        limit: Largest number of bytes that it may unfold to.
    """

    def __init__(self, file: BinaryIO, path: str, limit: int) -> None:
        self._file, self._path, self._limit = file, path, limit
        self._encoding = _find_encoding(lambda: unfolded(file, path, limit))
        self._num_controls = 0
        self.num_bytes: int = self._encoding.num_bytes or file.seek(0, io.SEEK_END)
        """Size of the text, or of the file where its encoding is known without reading it."""

    @property
    def notes(self) -> list[str]:
        """Sentences on the encoding, complete once the text was read."""
        number = self._num_controls
        controls = [f"{number:,} control characters of Latin-1 were read as Windows-1252"] if number else []
        return [*self._encoding.notes, *controls]

    def pieces(self) -> Iterator[bytes]:
        """Yields the text from its beginning, as UTF-8.

        Raises:
            DataError: If the file is no text.
        """
        name, errors, skipped, *_ = self._encoding
        decoder = codecs.getincrementaldecoder(name)(errors)
        self._num_controls, line = 0, 1
        for number, raw in enumerate(unfolded(self._file, self._path, self._limit)):
            raw = raw[skipped:] if not number else raw
            if name == "utf-8" and raw.isascii() and not decoder.getstate()[0]:
                piece, text = raw, raw[:_SAMPLE].decode() if not number else ""
            else:
                text = self._decoded(decoder, raw, line)
                piece = text.encode()
            if not number:
                self._check_is_text(text[:_SAMPLE], raw)
            if b"\0" in piece:
                line += piece.count(b"\n", 0, piece.index(b"\0"))
                raise DataError(
                    f"{self._path}, line {line}: holds a zero byte, which no text does. Remove it, or fetch the file again"
                )
            line += piece.count(b"\n")
            yield piece
        if rest := self._decoded(decoder, b"", line, final=True):
            yield rest.encode()

    def _decoded(self, decoder: codecs.IncrementalDecoder, raw: bytes, line: int, *, final: bool = False) -> str:
        try:
            text = decoder.decode(raw, final)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            raise DataError(
                f"{self._path}, line {line}: the file begins as {self._encoding.name}, and is none here "
                f"({error.reason}). Save it as UTF-8, or fetch it again"
            ) from error
        if self._encoding.errors != "strict":
            text = _BAD_BYTES.sub(lambda one: bytes([ord(one[0]) - 0xDC00]).decode("cp1252", "replace"), text)
        if not text.isascii() and _CONTROLS.search(text):
            text, number = _CONTROLS.subn(_as_windows, text)
            self._num_controls += number
        return text

    def _check_is_text(self, head: str, raw: bytes) -> None:
        if found := _BINARY.search(head):
            for magic, advice in _MAGIC.items():
                if raw.startswith(magic):
                    raise DataError(f"{self._path}: no text, but {advice}")
            raise DataError(
                f"{self._path}: no text: it holds the control character {ord(found.group()):#04x}. Give a CSV file as "
                "text, or another format by its own ending (.parquet, .xlsx, .npy)"
            )


def _find_encoding(read: Callable[[], Iterator[bytes]]) -> _Encoding:
    head = next(read(), b"")
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return _Encoding(name, skipped=len(mark), notes=() if name == "utf-8" else (f"read as {name.upper()}",))
    head = head[:_SAMPLE]
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 1 and head[offset::2].count(0) > 0.4 * len(head) / 2 and not head[1 - offset :: 2].count(0):
            return _Encoding(name, notes=(f"read as {name.upper()}, without a byte order mark",))
    return _of_bytes(read())


def _of_bytes(pieces: Iterator[bytes]) -> _Encoding:
    """Returns the encoding of a file without a byte order mark, whose letters of ASCII take one byte each."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    line, size, first_bad, num_bad, num_beyond, is_latin = 1, 0, 0, 0, 0, False
    for raw in chain(pieces, (b"",)):
        size += len(raw)
        if raw and raw.isascii() and not decoder.getstate()[0]:
            line += 0 if first_bad else raw.count(b"\n")
            continue
        text = decoder.decode(raw, not raw)
        bad = [] if text.isascii() else _BAD_BYTES.findall(text)
        num_bad, num_beyond = num_bad + len(bad), num_beyond + len(_BEYOND_ASCII.findall(text))
        is_latin = is_latin or bool(_UNDEFINED.search(raw))
        if bad and not first_bad:
            first_bad = line + text.count("\n", 0, text.index(bad[0]))
        line += text.count("\n")
    if not first_bad:
        return _Encoding("utf-8", num_bytes=size)
    if num_bad < 0.5 * num_beyond:
        said = f"line {first_bad} has a byte that is not UTF-8: such were read as Windows-1252"
        return _Encoding("utf-8", "surrogateescape", 0, (said,), size)
    shown = "Latin-1" if is_latin else "Windows-1252"
    said = f"read as {shown}: line {first_bad} is not UTF-8"
    return _Encoding("latin-1" if is_latin else "cp1252", "strict", 0, (said,), size)


def _as_windows(found: re.Match[str]) -> str:
    try:
        return found.group().encode("latin-1").decode("cp1252")
    except UnicodeDecodeError:
        return " "
