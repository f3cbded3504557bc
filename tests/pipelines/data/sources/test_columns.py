"""Columns of tables: role, type, meaning of the values, and what is said of them."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pipelines.data.ingest import dry_run
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.tables.choices import as_yaml
from pipelines.data.sources.tables.understanding import understand
from vae.errors import DataError


def one(values: list[str], name: str = "c", **options: object):
    """Returns what a column of texts was understood to be, and its values."""
    config = IngestConfig.model_validate({"source": "t.csv", "name": "t", **options})
    table = pa.table({name: pa.chunked_array([values])})
    [found] = understand(table, True, config)
    wrong = [False] * len(values) if found.wrong is None else found.wrong.tolist()
    return found.column, found.column.convert(table[name]).to_pylist(), wrong


def is_plain(text: str) -> bool:
    """Returns whether Python reads a number as it is written."""
    try:
        return text.isascii() and bool(float(text) or True)
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("written", "numbers", "kind"),
    [
        (["1", "-2", "+3"], [1, -2, 3], "integer"),
        (["1.5", "-2e3", ".5"], [1.5, -2000, 0.5], "real"),
        (["1,5", "2,25", "-3,5"], [1.5, 2.25, -3.5], "real"),
        (["1.234,5", "2.000,25", "3,5"], [1234.5, 2000.25, 3.5], "positive"),
        (["1,234.5", "2,000.25", "3.5"], [1234.5, 2000.25, 3.5], "positive"),
        (["1,234", "22,000", "5"], [1234, 22000, 5], "count"),
        (["1 234,5", "22\u00a0000,5", "3,5"], [1234.5, 22000.5, 3.5], "positive"),
        (["1'234.5", "2'000.5", "3.5"], [1234.5, 2000.5, 3.5], "positive"),
        (["12 %", "50%", "7.5 %"], [0.12, 0.5, 0.075], "share"),
        (["$5.00", "-$1,200.50", "$ 7"], [5, -1200.5, 7], "money"),
        (["€1,015.16", "€64.54", "€2.00"], [1015.16, 64.54, 2], "money"),
        (["5,20 €", "7,10 €", "1.000,00 €"], [5.2, 7.1, 1000], "money"),
        (["(5)", "7.5", "3.5"], [-5, 7.5, 3.5], "real"),
        (["\u22125.5", "7.5", "3"], [-5.5, 7.5, 3], "real"),
        (["0.1", "0.9", "0.5"], [0.1, 0.9, 0.5], "share"),
        (["0", "1", "1"], [0, 1, 1], "boolean"),
    ],
)
def test_numbers_are_read_as_people_write_them(written, numbers, kind) -> None:
    """Decimal comma, thousands, signs of money, percent, brackets and minus signs of typesetters."""
    column, values, wrong = one(written)
    assert values == pytest.approx(numbers)
    assert (column.role, column.type, any(wrong)) == ("feature", kind, False)
    assert bool(column.remarks) == (not all(map(is_plain, written)))


@pytest.mark.parametrize(
    ("written", "dates"),
    [
        (["2020-01-31", "2021-12-01"], [datetime.date(2020, 1, 31), datetime.date(2021, 12, 1)]),
        (["31/01/2020", "01/12/2021"], [datetime.date(2020, 1, 31), datetime.date(2021, 12, 1)]),
        (["01/31/2020", "12/01/2021"], [datetime.date(2020, 1, 31), datetime.date(2021, 12, 1)]),
        (["31.01.2020", "1.12.2021"], [datetime.date(2020, 1, 31), datetime.date(2021, 12, 1)]),
        (["31-Jan-2020", "1-Dec-2021"], [datetime.date(2020, 1, 31), datetime.date(2021, 12, 1)]),
        (
            ["2020-01-31T10:30:00Z", "2021-12-01 00:00:01.5+01:00"],
            [datetime.datetime(2020, 1, 31, 10, 30), datetime.datetime(2021, 11, 30, 23, 0, 1, 500_000)],
        ),
        (
            ["31/01/2020 10:30", "01/12/2021 00:01"],
            [datetime.datetime(2020, 1, 31, 10, 30), datetime.datetime(2021, 12, 1, 0, 1)],
        ),
    ],
)
def test_dates_are_read(written, dates) -> None:
    """Dates and times as they are written become dates and times."""
    column, values, wrong = one(written)
    assert (values, column.type, any(wrong), column.remarks) == (dates, "time", False, ())


def test_dates_of_two_readings_are_said() -> None:
    """Where month first fits as well, day first is said, and a format decides."""
    column, values, _ = one(["01/02/2020", "03/04/2020"])
    assert values[0] == datetime.date(2020, 2, 1)
    assert column.remarks == ("dates read as day first (%d/%m/%Y); month first fits as well",)
    column, values, _ = one(["01/02/2020", "03/04/2020"], columns={"c": {"type": "time", "format": "%m/%d/%Y"}})
    assert (values[0], column.remarks) == (datetime.date(2020, 1, 2), ())


@pytest.mark.parametrize(
    ("values", "name", "role", "kind"),
    [
        ([f"C{i}" for i in range(100)], "who", "identifier", "text"),
        ([str(i) for i in range(100)], "row", "identifier", "integer"),
        ([str(7 * i) for i in range(100)], "customer_id", "identifier", "integer"),
        ([str(7 * i) for i in range(100)], "population", "feature", "count"),
        ([f"{i:05d}" for i in range(100)], "zip", "identifier", "text"),
        ([f"{i % 7:05d}" for i in range(100)], "zip", "feature", "category"),
        ([str(10**18 + i) for i in range(100)], "tweet", "identifier", "text"),
        ([f"the text of number {i} is long" for i in range(100)], "note", "out", "text"),
        ([f"t{i // 2}" for i in range(1000)], "many", "out", "text"),
        (["same"] * 100, "flag", "out", "category"),
        (["5"] * 100, "flag", "out", "real"),
        ([""] * 100, "nothing", "out", "empty"),
        (["yes", "no"] * 50, "flag", "feature", "boolean"),
        (["a", "b", "c"] * 30, "letter", "feature", "category"),
    ],
)
def test_roles_are_found_and_said(values, name, role, kind) -> None:
    """Identifiers, text, constants and empty columns are not modelled, and each says why."""
    column, _, _ = one(values, name)
    assert (column.role, column.type) == (role, kind)
    assert bool(column.remarks) == (role != "feature")


@pytest.mark.parametrize("sign", ["NA", "NaN", "?", "n/a", "-", ".", "<=5", "null"])
def test_signs_of_missing_numbers_are_said(sign) -> None:
    """What other tools write for missing is missing among numbers, with its number of times."""
    column, values, wrong = one(["1", "2", sign, "4", ""])
    assert values == [1, 2, None, 4, None]
    assert (column.missing, any(wrong), column.remarks) == (2, False, (f"1 × {sign!r} read as missing",))


def test_signs_of_missing_categories() -> None:
    """A question mark is missing among categories; `None` is a category, and said; `NA` asks."""
    assert one(["a", "?", "b"])[1] == ["a", None, "b"]
    column, values, _ = one(["a", "None", "b"])
    assert (values, column.remarks) == (["a", "None", "b"], ("'None' kept as a category",))
    assert one(["a", "NA", "b"])[2] == [False, True, False]


def test_choices_override_what_is_found(tmp_path) -> None:
    """Role, type and order of a column may be said, and what was found may be written, changed and given back."""
    path = tmp_path / "t.csv"
    rows = [f"C{i},{['low', 'mid', 'high'][i % 3]},{i % 5},{i * 0.7:.1f}" for i in range(60)]
    path.write_text("\n".join(["who,size,code,x", *rows]))
    config = IngestConfig(source=str(path), name="t")
    plan = dry_run(config, str(tmp_path))
    assert [one.role for one in plan.understood] == ["identifier", "feature", "feature", "feature"]
    file = YAML(typ="safe").load(as_yaml(plan.understood))
    same = dry_run(IngestConfig.model_validate({"source": str(path), "name": "t", "columns": file}), str(tmp_path))
    assert same.dataset_id == plan.dataset_id
    file["size"] = {"role": "feature", "type": "ordered", "order": ["low", "mid", "high"]}
    file["code"] = {"role": "feature", "type": "category"}
    file["who"] = {"role": "out"}
    other = dry_run(IngestConfig.model_validate({"source": str(path), "name": "t", "columns": file}), str(tmp_path))
    assert other.example.columns is not None
    assert other.dataset_id != plan.dataset_id
    size, code, _ = other.example.columns
    assert (size.categories, size.type) == (("low", "mid", "high"), "ordered")
    assert (code.categories, code.dtype) == (("0", "1", "2", "3", "4"), "int64")


def test_strict_refuses_what_would_be_said(tmp_path) -> None:
    """With --strict each remark is a refusal that says how to go on."""
    path = tmp_path / "t.csv"
    path.write_text("x;y\n1,5;a\n2,5;b\n")
    with pytest.raises(DataError, match=r"(?s)2 things to say.*semicolons.*column 'x': decimal comma.*--write-columns"):
        dry_run(IngestConfig(source=str(path), name="t", strict=True), str(tmp_path))
    path.write_text("x,y\n1.5,a\n2.5,b\n")
    assert dry_run(IngestConfig(source=str(path), name="t", strict=True), str(tmp_path)).rows["train"] == 2


def test_no_column_to_model_is_refused(tmp_path, look) -> None:
    """A table of nothing but identifiers says what each column is, and where to name features."""
    (tmp_path / "t.csv").write_text("\n".join(["who", *(f"C{i}" for i in range(50))]))
    with pytest.raises(DataError, match=r"no column to model \('who': identifier, differs in every row\).*--columns"):
        look(tmp_path / "t.csv")


def test_parquet_as_warehouses_write_it(tmp_path, look) -> None:
    """Decimals, dates, times, views and dictionaries are columns; nested and null-typed ones are left out and said."""
    number = 30
    columns = {
        "amount": pa.array([Decimal(f"{i}.50") for i in range(number)], pa.decimal128(12, 2)),
        "day": pa.array([datetime.date(2020, 1, 1 + i % 28) for i in range(number)]),
        "at": pa.array([datetime.datetime(2020, 1, 1, i % 24) for i in range(number)], pa.timestamp("ns", "UTC")),
        "word": pa.array(["a", "b", "a"] * 10, pa.string_view()),
        "kind": pa.array(["u", "v", "u"] * 10).dictionary_encode(),
        "flag": pa.array([True, False] * 15),
        "nothing": pa.nulls(number),
        "list": pa.array([[1]] * number),
        "__index_level_0__": pa.array(range(100, 100 + number)),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    survey, block = look(tmp_path / "t.parquet")
    found = {one.name: (one.role, one.type, one.dtype) for one in survey.understood}
    assert found == {
        "amount": ("feature", "positive", "double"),
        "day": ("feature", "time", "date32[day]"),
        "at": ("feature", "time", "timestamp[us]"),
        "word": ("feature", "category", "string"),
        "kind": ("feature", "category", "string"),
        "flag": ("feature", "boolean", "bool"),
        "nothing": ("out", "empty", "string"),
        "list": ("out", "nested", "string"),
        "__index_level_0__": ("identifier", "integer", "int64"),
    }
    assert block.examples["day"][0].as_py() == datetime.date(2020, 1, 1)
    assert all(one.remarks for one in survey.understood if one.role != "feature")


def test_json_lines_and_excel_are_tables(tmp_path, look) -> None:
    """Objects a line, and the first sheet of a workbook, have typed columns."""
    (tmp_path / "t.jsonl").write_text('{"x": 1, "w": "a"}\n{"x": 2.5}\n{"x": null, "w": "b"}\n')
    survey, block = look(tmp_path / "t.jsonl")
    assert block.examples.to_pydict() == {"x": [1, 2.5, None], "w": ["a", None, "b"]}
    days = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-05"])
    frame = pd.DataFrame({"x": [1, 2, 3], "when": days, "w": ["a", "b", "a"]})
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    survey, block = look(tmp_path / "t.xlsx")
    assert [(one.name, one.type) for one in survey.understood] == [("x", "count"), ("when", "time"), ("w", "category")]
    np.testing.assert_array_equal(block.examples["x"].to_numpy(), [1, 2, 3])
