"""Examples that a person gives: images, drawings and rows of a table, and what is refused."""

from __future__ import annotations

import io
import re
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.explorer.given import example_of
from pipelines.explorer.kinds import MOST_BYTES
from pipelines.explorer.kinds.image import KIND, read_holes, read_image, write_holes, write_image
from pipelines.explorer.kinds.table import KIND as TABLES
from pipelines.explorer.kinds.table import read_row, with_cells, write_row
from pipelines.explorer.looking import look
from pipelines.explorer.models import Subject
from pipelines.explorer.views import Repair
from tests.pipelines.explorer.conftest import HOLES, HOSTILE, Shelf
from vae.data.schema import Column, ExampleSpec
from vae.errors import DataError


def file_of(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_image_in_a_link_is_the_image(shelf: Shelf) -> None:
    """Every pixel survives the link."""
    subject = shelf["digits/1"]
    image = subject.rows.take([7])
    assert np.array_equal(example_of(subject, write_image(image)).values, image)
    holes = read_holes(subject, write_holes(HOLES))
    assert holes is not None
    assert np.array_equal(holes, HOLES)


def test_upload_becomes_an_example(shelf: Shelf) -> None:
    """Any usual image file is resized and turned grey, as ingest does it."""
    photo = Image.fromarray(np.random.default_rng(0).integers(256, size=(60, 40, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        assert read_image(shelf["digits/1"], file_of(photo, kind)).shape == (1, 1, 8, 8)


def bomb(side: int) -> bytes:
    """Returns a PNG whose header promises a side of so many black pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"<script>alert(1)</script>", "not a PNG"),
        (b"\x80\x04\x95", "not a PNG"),  # a pickle
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "PNG|header"),
        (b"x" * ((8 << 20) + 1), "above the limit"),
    ],
)
def test_hostile_files_are_refused(data: bytes, words: str, shelf: Shelf) -> None:
    """The reason is given, before anything is decoded."""
    with pytest.raises(DataError, match=words):
        read_image(shelf["digits/1"], data)


@pytest.mark.parametrize("side", [5_000, 20_000, 1 << 30])
def test_bombs_are_refused(side: int, shelf: Shelf) -> None:
    """The size in the header is enough."""
    with pytest.raises(DataError, match="limit"):
        read_image(shelf["digits/1"], bomb(side))


def csv_of_row(subject: Subject, delimiter: str = ",", **cells: str) -> bytes:
    """Returns a wine as a file, with columns in another order than the model's and some cells changed."""
    names = [column.name for column in reversed(subject.model.examples.columns or ())]
    row = {name: "barolo" if name == "cultivar" else "2.5" for name in names} | cells
    return f"{delimiter.join(names)}\r\n{delimiter.join(row[name] for name in names)}\r\n".encode()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_row_of_a_file_becomes_an_example(delimiter: str, shelf: Shelf) -> None:
    """Columns are matched by name, an empty cell is a gap, the first row is taken; and it survives the link."""
    subject = shelf["wine"]
    data = csv_of_row(subject, delimiter, alcohol=" 13.25 ", ash="", proline="735") + b"\r\n" + b"too,few\r\n" * 2
    row, num_rows = read_row(subject, b"\xef\xbb\xbf" + data)
    assert num_rows == 3
    assert row.iloc[0][["alcohol", "ash", "proline", "cultivar"]].tolist() == [13.25, None, 735, "barolo"]
    pd.testing.assert_frame_equal(example_of(subject, write_row(row)).values, row)
    filled = look(Repair(x=write_row(row), do="impute"), subject, shelf).panels[0][1].values.iloc[0]
    assert filled["alcohol"] == 13.25
    assert 1 < filled["ash"] < 4


def test_row_of_a_file_is_chosen_by_its_number(shelf: Shelf) -> None:
    """The second of two rows is read; a third, or one before the first, is refused."""
    subject = shelf["wine"]
    data = csv_of_row(subject) + csv_of_row(subject, alcohol="14").splitlines(keepends=True)[1]
    row, num_rows = read_row(subject, data, 1)
    assert (row["alcohol"].iloc[0], num_rows) == (14, 2)
    for number in (2, -1):
        with pytest.raises(DataError, match="rows 0 to 1; there is no other"):
            read_row(subject, data, number)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected a header"),
        (b"alcohol,ash\r\n", "expected a header"),
        (b"alcohol,ash\n1,2\n", "column 'malic_acid' is missing.*; expected the columns alcohol, malic_acid"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "no text in UTF-8"),
        ("alcohol,Säure\n1,2\n".encode("latin-1"), "no text in UTF-8"),
        ("alcohol,ash\n1,2\n".encode("utf-16"), "no text in UTF-8"),
        (bytes(100), "expected a header"),
        (b"alcohol,ash\n1\n", "row 0 has 1 cells, its header 2"),
        (b'alcohol,ash\n"1,2\n', "no CSV"),
        (b"alcohol," + b"x" * 200_000 + b"\n1,2\n", "no CSV, field larger"),
        (b"x" * (MOST_BYTES + 1), "above the limit"),
        (HOSTILE.encode() + b"\n1\n", "unknown column '<img"),
        (b"1," * 99_999 + b"1\n" + b"1," * 99_999 + b"1\n", "100,000 columns, the model takes 7: alcohol"),
    ],
)
def test_hostile_tables_are_refused(data: bytes, words: str, shelf: Shelf) -> None:
    """The message says briefly what is wrong and what is expected."""
    with pytest.raises(DataError, match=words) as refused:
        read_row(shelf["wine"], data)
    assert len(str(refused.value)) <= 1000


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"alcohol": "much"}, "alcohol: expected a number, or nothing for a gap, got 'much'"),
        ({"alcohol": "=1+1"}, "alcohol: expected a number, or nothing for a gap, got '=1"),
        ({"alcohol": "inf"}, "alcohol: expected a number"),
        ({"cultivar": "=HYPERLINK(A1)"}, "cultivar: unknown '=HYPERLINK"),
        ({"cultivar": "<script>1</script>"}, "cultivar: unknown '<script>1</script>'; expected barbera, barolo"),
    ],
)
def test_hostile_cells_are_refused(cells: dict[str, str], words: str, shelf: Shelf) -> None:
    """The message names the column and what it takes; a formula is no number."""
    with pytest.raises(DataError, match=re.escape(words)):
        read_row(shelf["wine"], csv_of_row(shelf["wine"], **cells))


def test_dates_of_a_row_are_dates() -> None:
    """The typical row has a date for a mean; dates survive a link, a gap stays one, and other texts are refused."""
    columns = (Column("day", mean=1709164800.0, std=86_400, dtype="date32[day]"), Column("age", mean=38.6))
    model: Any = SimpleNamespace(examples=ExampleSpec.of_table(columns))
    subject: Any = SimpleNamespace(model=model, kind=TABLES, rows=None)
    typical = example_of(subject, "").values
    assert write_row(typical) == 'json:{"day":"2024-02-29","age":38.6}'
    pd.testing.assert_frame_equal(example_of(subject, write_row(typical)).values, typical, check_dtype=False)
    row, _ = read_row(subject, b"age,day\n41,2024-03-01\n")
    assert row["day"].tolist() == [pd.Timestamp("2024-03-01")]
    assert "<td>2024-03-01</td>" in TABLES.html(TABLES.panels(row, ["row"]))
    assert with_cells(row, '{"day":null}', columns)["day"].isna().all()
    with pytest.raises(DataError, match="day: expected a date such as 2024-03-01, or nothing for a gap, got 'soon'"):
        read_row(subject, b"age,day\n41,soon\n")


def test_noise_repeats_for_a_seed(shelf: Shelf) -> None:
    """The same seed gives the same noise; holes are NaN."""
    image, holes = np.full((1, 1, 8, 8), 128, np.uint8), write_holes(HOLES)
    views = [Repair(noise=0.2, holes=holes, seed=seed) for seed in (1, 1, 2)]
    first, second, other = (KIND.damaged(shelf["digits"], view, image) for view in views)
    assert np.array_equal(first, second, equal_nan=True)
    assert not np.array_equal(first, other, equal_nan=True)
    assert np.array_equal(np.isnan(first[0, 0]), HOLES)
    assert KIND.damaged(shelf["digits"], Repair(), image) is image
