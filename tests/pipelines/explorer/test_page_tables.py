"""Rows of a table in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.explorer.kinds.table import cell_text
from tests.pipelines.explorer.browser import cells, choose, eventually, fill, of_link, upload
from tests.pipelines.explorer.conftest import HOSTILE, Shelf

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def test_cells_are_edited_and_imputed(visit: Any, shelf: Shelf) -> None:
    """A changed cell is kept, an emptied one is filled in as `impute` does."""
    page = visit("/repair?model=wine&x=row:4&seed=1")
    fill(page, "malic_acid", "2.5")
    eventually(lambda: cells(page, "malic_acid")[0], "2.5")
    fill(page, "alcohol", "")
    eventually(lambda: cells(page, "alcohol")[0], "missing")
    choose(page, "cultivar", "")
    eventually(lambda: cells(page, "cultivar")[0], "missing")
    row = shelf["wine"].rows.take([4]).astype(object)
    row["malic_acid"], row["alcohol"], row["cultivar"] = 2.5, None, None
    params = {"task": "impute", "num_samples": 200, "seed": 1}
    filled = shelf["wine"].ask(row, params).iloc[0]
    std = shelf["wine"].ask(row, {**params, "output": "std"}).iloc[0]
    assert cells(page, "alcohol")[1:] == [f"{filled['alcohol']:.5g}", f"{std['alcohol']:.5g}"]
    assert cells(page, "cultivar")[1] == filled["cultivar"]
    assert cells(page, "malic_acid")[1:] == ["2.5", "0"]


def test_table_has_a_latent_space_too(visit: Any, shelf: Shelf) -> None:
    """A click on its map decodes to a row."""
    page = visit("/latent?model=wine")
    before = cells(page, "proline")
    page.locator("svg .point").nth(5).click(force=True)
    after = eventually(lambda: cells(page, "proline"), other_than=before)
    page.wait_for_url("**x=row*")
    assert after == [cell_text(of_link(page, shelf)["proline"].iloc[0])]


def said_of(page: Any, name: str, data: bytes) -> str:
    """Gives a file, and returns what the page says of it."""
    upload(page, name, data, "text/csv")
    note = page.locator(".fine[role=status]")
    note.filter(has_text=name).wait_for()
    return note.inner_text()


def test_row_is_uploaded_and_imputed(visit: Any, shelf: Shelf) -> None:
    """The first row of a file is taken and its gap filled in as `impute` does; another is chosen by its number.

    The link leads to the row again, without the file, and its cells can be changed.
    """
    page = visit("/repair?model=wine&seed=1")
    frame = shelf["wine"].rows.take([7, 8]).astype(object)
    frame["alcohol"], frame["cultivar"] = [None, 13.0], ["barolo", "barbera"]
    frame = frame[frame.columns[::-1]]
    assert "wines.csv, its row 0" in said_of(page, "wines.csv", frame.to_csv(index=False).encode())
    filled = shelf["wine"].ask(frame[:1], {"task": "impute", "num_samples": 200, "seed": 1}).iloc[0]
    imputed = ["missing", cell_text(filled["alcohol"])]
    eventually(lambda: cells(page, "alcohol")[:2], imputed)
    assert cells(page, "cultivar")[:2] == ["barolo", "barolo"]
    number = "Row of the file, 0 to 1"
    fill(page, number, "2")
    page.get_by_text("the file has rows 0 to 1; there is no other").wait_for()
    fill(page, number, "1")
    eventually(lambda: cells(page, "cultivar")[0], "barbera")
    eventually(lambda: cells(page, "alcohol")[0], "13")
    page.get_by_text("wines.csv, its row 1").wait_for()
    fill(page, number, "0")
    eventually(lambda: cells(page, "alcohol")[:2], imputed)
    page.reload()
    eventually(lambda: cells(page, "alcohol")[:2], imputed)
    assert page.get_by_label(number).count() == 0, "the file is gone"
    fill(page, "alcohol", "12.5")
    eventually(lambda: cells(page, "alcohol")[0], "12.5")


def test_hostile_table_is_refused(visit: Any, tmp_path: Path) -> None:
    """A file that does not fit is refused with the reason, as text, and the page stays as it was."""
    page = visit("/repair?model=wine&x=row:4")
    before, note = page.locator(".answer tbody").inner_text(), page.locator(".fine[role=status]")
    assert "no text in UTF-8" in said_of(page, "a.csv", b"\x89PNG\r\n\x1a\n")
    assert "unknown column '<img" in said_of(page, "b.csv", HOSTILE.encode() + b"\n1\n")
    assert "column 'alcohol' is missing" in said_of(page, "<img src=x onerror=window.harmed=1>.csv", b"ash\n=1+1\n")
    huge = tmp_path / "huge.csv"
    huge.write_bytes(bytes(50_000_000))
    page.locator("input[type=file]").set_input_files(huge)
    note.filter(has_text="more than 8 MiB").wait_for()
    assert note.locator("img, script").count() == 0
    assert page.locator(".answer tbody").inner_text() == before
    assert page.evaluate("window.harmed") is None
