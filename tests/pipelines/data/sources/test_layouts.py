"""Delimited text of any layout: what is read, and what is said of it."""

from __future__ import annotations

import csv
import gzip
import io
import random

import pyarrow as pa
import pytest

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables import text_files
from vae.errors import DataError

ROWS = {"x": ["1", "2", "3"], "w": ["a", "b", "a"]}


def read(data: str | bytes, name: str = "t.csv", **options: object):
    """Returns the rows of a file as text, and what is said of it."""
    config = IngestConfig.model_validate({"source": name, "name": "t", **options})
    raw = text_files.read(io.BytesIO(data if isinstance(data, bytes) else data.encode()), name, config)
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
        (gzip.compress(b"x,w\n1,a\n2,b\n3,a\n", mtime=0), []),
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


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('x,w\n1,a\n2,"b\n3,c\n', "line 3: quotes that do not pair were read as text"),
        ('x,w\n1,"say "hi" to, you"\n2,b\n', "line 2: quotes that do not pair were read as text"),
        ('x,w\n1,a\n2,"b\n3,c\n4,d"\n5,e\n', "line 3: a quoted field holds several lines that look like rows"),
        ('x,w\n1"a",b\n2"c",d\n', "line 2, and in 1 more: quotes inside of words were read as text"),
    ],
)
def test_stray_quotes_are_said_with_their_line(data, said) -> None:
    """A quote that has no partner is text, named by its line, and takes no line below it."""
    assert said in read(data)[1]


def test_stray_quote_takes_no_rows() -> None:
    """A quote that is never closed stays in its field; the 3,000 rows below it are rows."""
    table, _, problems = read('x,w\n1,a\n2,"b\n' + "3,c\n" * 3000)
    assert table["w"] == ["a", '"b', *["c"] * 3000]
    assert problems == ()


def test_escapes_are_read() -> None:
    """A backslash before a quote is an escape where pairs of quotes do not explain the file, and else it is text."""
    assert read('x,w\n1,"say \\"hi\\" now"\n2,"C:\\new"\n')[0]["w"] == ['say "hi" now', "C:\\new"]
    assert read('x,w\n1,"C:\\dir\\"\n2,"D:\\"\n')[0]["w"] == ["C:\\dir\\", "D:\\"]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("Country,1990,1991\nA,1.5,2\nB,2,3\nC,4,5\n", ["Country", "1990", "1991"]),
        ("Place,1/22/20,1/23/20\nA,1,2\nB,2,3\n", ["Place", "1/22/20", "1/23/20"]),
        ("1990,1991\n5.1,2.2\n4,5\n", ["column_1", "column_2"]),
        ("time,speed\ns,m/s\n1,2.5\n2,3.5\n3,4.5\n", ["time s", "speed m/s"]),
        ("red,up\nblue,down\nred,down\nblue,up\nred,up\nred,down\n", ["column_1", "column_2"]),
        ("A1203\nB5544\nC9021\nA4410\n", ["column_1"]),
        ("x\n1,5\n2,7\n3,1\n", ["x"]),
        ("text\nHello, world, and you\nNo sign here\nOne, two\n", ["text"]),
        ("a\n2020-01-01 01:02:03\n2020-01-02 01:02:03\n", ["a"]),
        (" x    y\n 1.0  2.0\n11.0  2.5\n", ["x", "y"]),
        ("title,name\n,\n-,\n", ["title", "name"]),
        ("sep=;\nx;y\n1;2\n3;4\n", ["x", "y"]),
        ("'x'|'y'\n'a|b'|'1'\n'c'|'2'\n", ["x", "y"]),
    ],
)
def test_names_of_unusual_files(data, names) -> None:
    """Years, dates, units, categories, codes, decimals, sentences and times of day are told from names and delimiters."""
    table, _, problems = read(data)
    assert list(table) == names
    assert problems == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a,b,c,d\n1,2,3\n4,5,6\n7,8,9\n", "line 1: 4 names, expected 3"),
        ("a,b\n1,2\n3,4\n\nc,d,e\n1,2,3\n4,5,6\n", r"rows of 2 \(from line 1\) and of 3 \(from line 5\) fields"),
        ("a,b\n", "a line of names and no rows"),
        (",,\n,,\n", "Its lines hold nothing"),
        ("x,w\n" + "1,a\n" * 30000 + "2,\0b\n", "line 30002: holds a zero byte"),
        (gzip.compress(b"x,w\n1,a\n", mtime=0), r"compressed by gzip. Let its name end in \.gz"),
    ],
)
def test_files_that_are_no_table_are_refused(data, message) -> None:
    """A file that cannot be one table is refused, by the line."""
    with pytest.raises(DataError, match=message):
        read(data)


def test_some_bytes_of_another_encoding_spoil_no_others() -> None:
    """A file of UTF-8 with a few bytes of Windows-1252 keeps its other letters."""
    table, notes, _ = read(("x,w\n" + "1,Köln\n" * 9).encode() + b"2,caf\xe9\n")
    assert table["w"] == ["Köln"] * 9 + ["café"]
    assert notes == ("line 11 has a byte that is not UTF-8: such were read as Windows-1252",)


WORDS = (
    "red",
    "Köln",
    "São",
    "north",
    "a, b",
    "c;d",
    'the "best"',
    "it's",
    "x|y",
    "1,5",
    "new\nline",
    "tab\there",
    "#1",
)


def random_column(rng: random.Random, number: int) -> list[str]:
    """Returns the texts of a column of one kind; some are empty."""
    draw = rng.choice(
        (
            lambda: str(rng.randint(0, 10 ** rng.randint(1, 6))),
            lambda: f"{rng.gauss(0, 100):.{rng.randint(1, 5)}f}",
            lambda: rng.choice(WORDS[:4]),
            lambda: f"{rng.choice('ABC')}{rng.randint(0, 9999):04d}",
            lambda: f"{rng.randint(1990, 2029)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
            lambda: " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 6))),
        )
    )
    return ["" if rng.random() < 0.05 else draw() for _ in range(number)]


def random_file(rng: random.Random) -> tuple[list[str], list[list[str]], bytes]:
    """Returns names, rows, and a file that holds them in some dialect."""
    end, number = rng.choice(("\n", "\r\n", "\r")), rng.choice((3, 12, 40, 300))
    columns = [random_column(rng, number) for _ in range(rng.randint(1, 8))]
    rows = [[field.replace("\n", end) for field in row] for row in zip(*columns, strict=True) if any(row)]
    names = [f"{rng.choice(WORDS[:4])}_{place}" for place in range(len(columns))]
    has_names, stream = rng.random() < 0.8, io.StringIO(newline="")
    csv.writer(
        stream,
        delimiter=rng.choice(",;\t|"),
        quotechar=rng.choice('"""\''),
        lineterminator=end,
        quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)),
        **({"doublequote": False, "escapechar": "\\"} if rng.random() < 0.15 else {}),
    ).writerows([names] * has_names + rows)
    names = names if has_names else [f"column_{place + 1}" for place in range(len(columns))]
    return names, rows, stream.getvalue().encode(rng.choice(("utf-8", "utf-8-sig", "utf-16", "cp1252")))


def test_random_tables_come_back_cell_by_cell() -> None:
    """Of 120 tables in random dialects 115 or more come back; of the others each is refused, or said to be unsure."""
    right = 0
    for seed in range(120):
        names, rows, data = random_file(random.Random(seed))
        try:
            table, notes, problems = read(data)
        except DataError:
            continue
        columns = [list(column) for column in zip(*rows, strict=True)]
        if not any(columns[-1]) and len(table) < len(columns):
            names, columns = names[:-1], columns[:-1]
        if list(table) == names and list(table.values()) == columns and not problems:
            right += 1
        else:
            assert problems or any("was read as names" in n or "left out" in n or "no line of" in n for n in notes), (
                seed
            )
    assert right >= 115
