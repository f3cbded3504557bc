"""CSV files: types, classes, and what is said of each bad row."""

from __future__ import annotations

import numpy as np
import pytest

from vae.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Writes a CSV file."""

    def put(text: str, name: str = "t.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return put


def messages(survey) -> list[str]:
    """Returns all problems as the user reads them."""
    return [str(problem) for problem in survey.problems]


def test_csv_columns_get_their_types(write, look) -> None:
    """Integers, fractions and text are told apart; an empty value is null; the label becomes classes."""
    path = write("n,x,word,kind\n1,0.5,a,b\n-2,,b,a\n+3,1e3,,b\n")
    survey, block = look(path, label="kind")
    assert [(c.name, c.kind, c.dtype, c.categories) for c in survey.example.columns] == [
        ("n", "numeric", "int64", None),
        ("x", "numeric", "double", None),
        ("word", "categorical", "string", ("a", "b")),
    ]
    assert block.examples.to_pydict() == {"n": [1, -2, 3], "x": [0.5, None, 1000.0], "word": ["a", "b", None]}
    assert (survey.classes, survey.labels.tolist()) == (("a", "b"), [1, 0, 1])
    assert survey.problems == ()


def test_csv_without_header_numbers_its_columns(write, look) -> None:
    """Without a header the columns are called by their position, and every line is a row."""
    survey, block = look(write("1,2\n3,4\n"), header=False)
    assert block.examples.to_pydict() == {"column_1": [1, 3], "column_2": [2, 4]}
    assert survey.num_rows == 2


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n", {}, "0 examples. The file has a line of names and no rows"),
        ("", {}, "0 examples"),
        ("a,b\n1,2\n", {"label": "kind"}, r"t\.csv: no column 'kind'\. Columns: a, b"),
        ("a,b\n1,2.5\n2,3.5\n", {"label": "b"}, "label column 'b' holds fractional numbers, expected text or integers"),
        ("a,label\n1,2\n", {}, "'label' has a name betaline uses itself. Rename it, or use --label label"),
    ],
)
def test_csv_that_is_no_table_is_refused(write, look, text, options, message) -> None:
    """A file without names, rows or usable columns is refused as a whole, with the column and what to do."""
    with pytest.raises(DataError, match=message):
        look(write(text), **options)


def test_csv_infinite_value_is_refused_with_its_row(write, look) -> None:
    """Infinity, spelt or overflowing, is named by file, line and column, with both remedies."""
    survey, block = look(write("x,y\n1,1\ninf,2\n3,1e999\n4,4\n"))
    first, second = messages(survey)
    assert first.startswith(
        "t.csv, row 3, column 'x': expected a finite number, found 'inf'; 3 of the column's 4 values"
    )
    assert second.startswith("t.csv, row 4, column 'y': expected a finite number, found '1e999'")
    assert "--set na_values='[\"\", TEXT]'" in first
    assert "--set categorical='[COLUMN]'" in first
    assert block.examples.to_pydict() == {"x": [1, 4], "y": [1, 4]}


def test_csv_text_among_numbers_is_refused_with_its_row(write, look) -> None:
    """Text among numbers is not turned into text or NaN; a number among texts is one of them, and said."""
    path = write("x,w\n1,a\nabc,b\n3,7\n4,c\n")
    survey, _ = look(path)
    assert [(p.row, p.column) for p in survey.problems] == [(3, "x")]
    assert "expected a finite number, found 'abc'; 3 of the column's 4 values are numbers" in messages(survey)[0]
    assert survey.understood[1].remarks == ("1 of the texts are numbers, such as '7'",)
    survey, block = look(path, categorical=["x", "w"])
    assert survey.problems == ()
    assert block.examples["x"].to_pylist() == ["1", "abc", "3", "4"]


def test_csv_na_among_categories_needs_an_option(write, look) -> None:
    """`NA` is neither a category nor missing until `na_values` or `categorical` decides."""
    path = write("land,n\nNA,1\nDE,2\nFR,3\n")
    (said,) = messages(look(path)[0])
    assert said.startswith("t.csv, row 2, column 'land': 'NA' among categories may mean missing")
    assert "--set na_values='[\"\", TEXT]'" in said
    assert "--set categorical='[COLUMN]'" in said
    _, block = look(path, na_values=["", "NA"])
    assert block.examples.to_pydict() == {"land": [None, "DE", "FR"], "n": [1, 2, 3]}
    survey, _ = look(path, categorical=["land"])
    assert survey.example.columns[0].categories == ("DE", "FR", "NA")


def test_csv_na_among_numbers_is_missing(write, look) -> None:
    """A file that writes `NA` for a missing number writes it for a missing category as well; both are said."""
    survey, block = look(write("land,n\nNA,1\nDE,2\nFR,NA\n"))
    assert block.examples.to_pydict() == {"land": [None, "DE", "FR"], "n": [1, 2, None]}
    assert [one.remarks for one in survey.understood] == [("1 × 'NA' read as missing",)] * 2


def test_csv_short_and_long_rows_keep_the_others_in_place(write, look) -> None:
    """A row with the wrong number of fields is named by its line; the others keep their positions."""
    survey, block = look(write("a,b\n1,2\n3\n4,5\n6,7,8\n9,10\n"))
    expected = ["t.csv, row 3: expected 2 fields, found 1", "t.csv, row 5: expected 2 fields, found 3"]
    assert messages(survey) == expected
    assert block.kept.tolist() == [0, 2, 4]
    assert block.examples.to_pydict() == {"a": [1, 4, 9], "b": [2, 5, 10]}


def test_csv_empty_row_and_missing_label_are_refused(write, look) -> None:
    """A row without any value, and one without a label, are named."""
    assert messages(look(write("a,b,k\n1,2,x\n,,y\n3,4,\n"), label="k")[0]) == [
        "t.csv, row 3: every value is missing; leave the row out",
        "t.csv, row 4, column 'k': the label is missing",
    ]


def test_csv_folder_needs_the_same_columns(write, look) -> None:
    """Files of a folder are one table; other columns are refused with the difference."""
    write("a,b\n1,2\n", "s/1.csv")
    path = write("a,b\n3,4\n", "s/2.csv")
    survey, block = look(path.parent)
    assert block.examples.to_pydict() == {"a": [1, 3], "b": [2, 4]}
    np.testing.assert_array_equal(survey.groups, [0, 0])
    write("a,c\n5,6\n", "s/3.csv")
    with pytest.raises(DataError, match=r"3\.csv: columns differ from 1\.csv's: missing b; extra c"):
        look(path.parent)
