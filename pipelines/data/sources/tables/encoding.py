"""Bytes of a text file to its text: compression and encoding are found, and what was found is said."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib

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
_SAMPLE = 1 << 16


def decompressed(data: bytes, path: str, limit: int) -> bytes:
    """Returns the content of a file, unfolded where its name ends in one of `COMPRESSIONS`.

    Raises:
        DataError: If the file is damaged, or unfolds to more bytes than the limit.
    """
    if not path.lower().endswith(COMPRESSIONS):
        return data
    pieces: list[bytes] = []
    size = 0
    try:
        if path.lower().endswith(".gz"):
            stream = gzip.GzipFile(fileobj=io.BytesIO(data))
        else:
            stream = pa.CompressedInputStream(pa.BufferReader(data), "zstd")
        while piece := stream.read(_CHUNK):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise DataError(f"{path}: unfolds to more than the limit of {limit:,} bytes. {MEMORY_ADVICE}")
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be unfolded: {error}. Fetch or write it again") from error
    return b"".join(pieces)


def decoded(data: bytes, path: str) -> tuple[str, list[str]]:
    """Returns the text of a file, with line ends as they are, and one sentence for each thing that was not plain UTF-8.

    UTF-8, UTF-16 and UTF-32 with a byte order mark, UTF-16 without one where every second byte is 0, else UTF-8, else
    Windows-1252, which holds all printable characters of Latin-1.

    Raises:
        DataError: If the file is no text.
    """
    encoding, rest, notes = _encoding(data)
    try:
        text = rest.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: the file begins as {encoding}, and is none here ({error.reason}). "
            "Save it as UTF-8, or fetch it again"
        ) from error
    if found := _BINARY.search(text[:_SAMPLE]):
        for magic, advice in _MAGIC.items():
            if data.startswith(magic):
                raise DataError(f"{path}: no text, but {advice}")
        raise DataError(
            f"{path}: no text: it holds the control character {ord(found.group()):#04x}. Give a CSV file as text, or "
            "another format by its own ending (.parquet, .xlsx, .npy)"
        )
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}, line {line}: holds a zero byte, which no text does. Remove it, or fetch the file again"
        )
    if not text.isascii() and _CONTROLS.search(text):
        text, number = _CONTROLS.subn(_as_windows, text)
        notes.append(f"{number:,} control characters of Latin-1 were read as Windows-1252")
    return text, notes


def _encoding(data: bytes) -> tuple[str, bytes, list[str]]:
    """Returns the name of an encoding, the bytes without a byte order mark, and what to say of it."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name, data[len(mark) :], [] if name == "utf-8" else [f"read as {name.upper()}"]
    head = data[:_SAMPLE]
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 1 and head[offset::2].count(0) > 0.4 * len(head) / 2 and not head[1 - offset :: 2].count(0):
            return name, data, [f"read as {name.upper()}, without a byte order mark"]
    try:
        codecs.decode(data, "utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = data.decode("utf-8", "surrogateescape")
        if len(_BAD_BYTES.findall(text)) < 0.5 * len(_BEYOND_ASCII.findall(text)):
            rest = _BAD_BYTES.sub(lambda found: bytes([ord(found.group()) - 0xDC00]).decode("cp1252", "replace"), text)
            return "utf-8", rest.encode(), [f"line {line} has a byte that is not UTF-8: such were read as Windows-1252"]
        # Five bytes mean nothing in Windows-1252, and a control character in Latin-1.
        name = "latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", data) else "cp1252"
        shown = "Latin-1" if name == "latin-1" else "Windows-1252"
        return name, data, [f"read as {shown}: line {line} is not UTF-8"]
    return "utf-8", data, []


def _as_windows(found: re.Match[str]) -> str:
    try:
        return found.group().encode("latin-1").decode("cp1252")
    except UnicodeDecodeError:
        return " "
