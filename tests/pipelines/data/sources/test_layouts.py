"""Delimited text of any layout: what is read, and what is said of it."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pytest

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables import text_files
from vae.errors import DataError

ROWS = {"x": ["1", "2", "3"], "w": ["a", "b", "a"]}


def read(data: str | bytes, name: str = "t.csv", **options: object):
    """Returns the rows of a file as text, and what is said of it."""
    config = IngestConfig.model_validate({"source": name, "name": "t", **options})
    raw = text_files.read(data if isinstance(data, bytes) else data.encode(), name, config)
    return raw.table.to_pydict(), raw.notes, raw.problems


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found(delimiter) -> None:
    """Rows are the same with each delimiter; one that is no comma is said."""
    lines = [["x", "w"], ["1", "a"], ["2", "b"], ["3", "a"]]
    table, notes, problems = read("\n".join(delimiter.join(line) for line in lines))
    assert (table, problems) == (ROWS, ())
    assert bool(notes) == (delimiter != ",")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("x,w\n1,a\n2,b\n3,a\n", []),
        ("x,w\r\n1,a\r\n2,b\r\n3,a\r\n", []),
        ("x,w\r1,a\r2,b\r3,a\r", []),
        ("\ufeffx,w\n1,a\n2,b\n3,a\n", []),
        ("\ufeffx,w\n1,a\n2,b\n3,a\n".encode("utf-16-le"), ["read as UTF-16-LE"]),
        ("x,w\n1,a\n2,b\n3,a\n".encode("utf-16-le"), ["read as UTF-16-LE, without a byte order mark"]),
        ('"x","w"\n"1","a"\n"2","b"\n"3","a"\n', []),
        ("x, w\n1, a\n2, b\n3, a\n", []),
        ("x,w,\n1,a,\n2,b,\n3,a,\n", ["every line ends in a delimiter"]),
        ("x,w\n1,a,\n2,b,\n3,a,\n", ["every row ends in a delimiter"]),
        ("Report of today\n\nx,w\n1,a\n2,b\n3,a\n", ["2 lines above the table were left out: 'Report of today'"]),
        ("# made by hand\nx,w\n1,a\n2,b\n3,a\n", ["1 line above the table was left out: '# made by hand'"]),
        ("x,w\n1,a\n# two\n2,b\n3,a\n", ["left out: 1 × comment line"]),
        ("x,w\n1,a\n\n2,b\n,\n3,a\n", ["left out: 2 × blank line"]),
        ("x,w\n1,a\n2,b\n3,a\n\nSource: me\n", ["left out: 2 × line outside of the table"]),
        ("x,w\n1,a\nx,w\n2,b\n3,a\n", ["left out: 1 × repeated line of names"]),
        (gzip.compress(b"x,w\n1,a\n2,b\n3,a\n"), []),
        (pa.compress(b"x,w\n1,a\n2,b\n3,a\n", "zstd", asbytes=True), []),
    ],
)  # fmt: skip
def test_layout_is_found_and_said(data, said) -> None:
    """Line ends, marks, quotes, blanks, lines that are no rows: the same rows, and one sentence for what was left out."""
    name = {b"\x1f\x8b": "t.csv.gz", b"\x28\xb5": "t.csv.zst"}.get(
        data[:2] if isinstance(data, bytes) else b"", "t.csv"
    )
    table, notes, problems = read(data, name)
    assert table == ROWS
    assert list(notes) == said
    assert problems == ()


def test_another_encoding_is_read_and_said() -> None:
    """Bytes that are no UTF-8 are Windows-1252, named by their first line; its quotes inside of UTF-8 are mended."""
    table, notes, _ = read("x,w\n1,Café\n2,’\n".encode("cp1252"))
    assert table["w"] == ["Café", "’"]
    assert notes == ("read as Windows-1252: line 2 is not UTF-8",)
    table, notes, _ = read("x,w\n1,d\x92or\n2,b\n")
    assert table["w"][0] == "d’or"
    assert notes == ("1 control characters of Latin-1 were read as Windows-1252",)


def test_many_quoted_line_breaks_are_one_row_each() -> None:
    """80,000 rows with a line break in quotes are 80,000 rows, whatever blocks they are read in."""
    table, _, problems = read("n,text\n" + "".join(f'{i},"line\nbreak{i}"\n' for i in range(80_000)))
    assert len(table["n"]) == 80_000
    assert (table["text"][79_999], problems) == ("line\nbreak79999", ())


def test_quoted_line_break_in_a_name() -> None:
    """A name may span lines."""
    table, _, _ = read('"long\nname",w\n1,a\n2,b\n')
    assert list(table) == ["long\nname", "w"]


def test_names_are_found() -> None:
    """Numbers alone are no names; two lines of names are joined; equal names are numbered; a missing one numbers rows."""
    table, notes, _ = read("1,2\n3,4\n5,6\n")
    assert table == {"column_1": ["1", "3", "5"], "column_2": ["2", "4", "6"]}
    assert notes == ("no line of names was found: columns are numbered from 1",)
    assert list(read("a,,b,\nX,Y,X,Y\n1,2,3,4\n5,6,7,8\n")[0]) == ["a X", "a Y", "b X", "b Y"]
    assert list(read("a,a,b\n1,2,3\n")[0]) == ["a", "a_2", "b"]
    assert list(read(",x,y\n0,1.5,2\n1,2.5,3\n")[0]) == ["index", "x", "y"]
    assert list(read("x,y\n0,1.5,2\n1,2.5,3\n2,2.5,4\n")[0]) == ["index", "x", "y"]


def test_several_tables_in_a_file_are_refused() -> None:
    """Tables of different widths are not one."""
    rows = ["1,2,3"] * 30 + ["1,2,3,4,5"] * 30
    with pytest.raises(
        DataError, match=r"t\.csv: rows of 3 \(from line 1\) and of 5 \(from line 31\) fields, expected one table"
    ):
        read("\n".join(rows))


def test_binary_file_is_refused() -> None:
    """Bytes that are no text are not read as Latin-1."""
    with pytest.raises(DataError, match=r"t\.csv: no text: it holds the control character 0x"):
        read(bytes(range(256)) * 20)


def test_row_of_another_width_keeps_its_line() -> None:
    """A row that does not fit is named by its line, also below lines that are none."""
    _, _, problems = read("title\n\nx,w\n1,a\n\n2\n3,a\n4,b\n")
    assert [(one.row, one.what) for one in problems] == [(6, "expected 2 fields, found 1")]
