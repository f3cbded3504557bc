"""Delimited text in pieces: the same rows whatever the pieces, in little memory, with every line that is odd."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pytest

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables import json_lines, records, spill, text_files
from tests.benchmarks.tables.measured import measure
from tests.pipelines.data.sources.test_layouts import random_file
from vae.errors import DataError

BUDGET_BYTES = 160 << 20
"""Anonymous memory that an ingest may take beyond what its libraries do."""
CONFIG = IngestConfig(source="t.csv", name="t")


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the reader take a text in pieces of about some number of bytes."""
    whole_lines = records._whole_lines

    def set_size(size: int) -> None:
        monkeypatch.setattr(records, "_PIECE_BYTES", size)
        monkeypatch.setattr(
            records,
            "_whole_lines",
            lambda pieces: whole_lines(piece[n : n + 37] for piece in pieces for n in range(0, len(piece), 37)),
        )

    return set_size


def everything(data: bytes, name: str = "t.csv") -> object:
    """Returns all that reading a file gives."""
    try:
        raw = text_files.read(io.BytesIO(data), name, CONFIG)
    except DataError as error:
        return str(error)
    return raw.table.to_pydict(), list(raw.places), raw.malformed.tolist(), raw.problems, raw.notes


def test_rows_do_not_depend_on_the_pieces(cut) -> None:
    """Files of random dialects, whole and with signs thrown in, give the same rows, lines, problems and notes in pieces."""
    rng, files = random.Random(0), []
    for seed in range(60):
        data = random_file(random.Random(seed))[2]
        files.append(data)
        for sign in rng.sample(
            (b'"', b"'", b"\n", b"\r\n", b",", b" ", b"\xe9", b"\n\n", b'\n"abc\n', b"\xef\xbb\xbf"), 3
        ):
            place = rng.randrange(len(data))
            files.append(data[:place] + sign + data[place:])
    expected = [everything(data) for data in files]
    cut(40)
    assert [everything(data) for data in files] == expected


def test_plain_pieces_are_read_by_arrow(cut, monkeypatch) -> None:
    """Quoted fields of one line, and rows that are blank or repeat the names, go the quick way and give the same."""
    data = ['"n","text","x"']
    data += [f'{n},"a, {n}", {n / 7:.3f}' for n in range(900)]
    data[200:200] = ["", ",,", '"n","text","x"']
    text = "\r\n".join(data).encode()
    expected = everything(text)
    reads, read = [], records._PlainReader.read
    monkeypatch.setattr(records._PlainReader, "read", lambda self, piece: reads.append(read(self, piece)) or reads[-1])
    cut(400)
    assert everything(text) == expected
    assert sum(one is not None for one in reads) > 4


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_quoted_line_breaks_across_a_border(ending) -> None:
    """Quoted fields of several lines are whole where a piece ends within them, in compressed files as well."""
    rows = [(str(n), "line\n" * (n % 50) + f"{n}") for n in range(20_000)]
    data = ("n,text\n" + "".join(f'{n},"{text}"\n' for n, text in rows)).encode()
    assert len(data) > 2 * records._PIECE_BYTES
    pack = {"": bytes, ".gz": lambda d: gzip.compress(d, 1), ".zst": lambda d: pa.compress(d, "zstd", asbytes=True)}
    raw = text_files.read(io.BytesIO(pack[ending](data)), f"t.csv{ending}", CONFIG)
    assert raw.table["text"].to_pylist() == [text.strip() for _, text in rows]
    assert raw.places[19_999] == 2 + sum(1 + n % 50 for n in range(19_999))
    assert raw.problems == ()


def test_bad_row_far_below_the_head_is_named() -> None:
    """A row of another width after megabytes of rows is a problem of its line; the others are rows."""
    lines = ["a,b,c", *(f"{n},{n / 3:.4f},word" for n in range(300_000))]
    lines[250_000] = "1,2"
    raw = text_files.read(io.BytesIO("\n".join(lines).encode()), "t.csv", CONFIG)
    assert [(one.row, one.what) for one in raw.problems] == [(250_001, "expected 3 fields, found 2")]
    assert (len(raw.table), raw.places[249_999], raw.places[250_000]) == (300_000, 250_001, 250_002)


def test_quote_without_end_takes_no_piece() -> None:
    """A quote that is never closed, megabytes before the end, stays in its field."""
    data = "x,w\n" + "1,abcdefgh\n" * 100_000 + '2,"b\n' + "3,abcdefgh\n" * 150_000
    raw = text_files.read(io.BytesIO(data.encode()), "t.csv", CONFIG)
    assert len(raw.table) == 250_001
    assert raw.notes == ("line 100002: quotes that do not pair were read as text",)


def test_keys_of_json_lines_are_those_of_all_pieces(monkeypatch) -> None:
    """A key that is null, whole or a time in the first piece gets the type that the whole file gives it."""
    lines = ['{"a": null, "b": 1, "c": "2020-01-01 00:00:00", "d": {"x": 1}}'] * 50
    lines += ['{"a": "x", "b": 1.5, "c": "some day", "d": {"x": 1}, "e": [1]}'] * 50
    data = "\n".join(lines).encode()
    monkeypatch.setattr(json_lines, "_PIECE_BYTES", 500)
    found = json_lines.read(io.BytesIO(data), "t.jsonl", CONFIG).table
    assert found.equals(pyarrow.json.read_json(io.BytesIO(data)))


def test_full_folder_for_temporary_files_is_said_before(monkeypatch) -> None:
    """Rows that do not fit on the disk are refused before they are read, with the sizes and what to do."""
    monkeypatch.setattr(spill, "HELD_BYTES", 1000)
    monkeypatch.setattr(spill.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2000}))
    with pytest.raises(DataError, match=r"t\.csv: its rows take about 4,510 bytes of .* 2,000 are free.*set TMPDIR"):
        text_files.read(io.BytesIO(b"a,b\n" + b"1.25,2.5\n" * 300), "t.csv", CONFIG)


def test_ingest_takes_little_memory(tmp_path: Path) -> None:
    """A file of 40 MB is ingested within a budget far below what its bytes, text and fields take, as it was expected."""
    rng = np.random.default_rng(0)
    columns = {f"x{place}": rng.normal(size=350_000) for place in range(6)}
    pyarrow.csv.write_csv(pa.table(columns), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").stat().st_size > 38e6
    found = measure("ingest", tmp_path / "t.csv", tmp_path / "home")
    assert found["peak"] - found["base"] < BUDGET_BYTES
    for figure in ("peak", "temporary", "stored"):
        assert 0.5 < found[f"expected_{figure}"] / found[figure] < 2, found
