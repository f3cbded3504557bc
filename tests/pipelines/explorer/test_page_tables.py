"""Rows of a table in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.explorer.exports import cell_text
from tests.pipelines.explorer.browser import cells, choose, eventually, of_link
from tests.pipelines.explorer.conftest import HOSTILE, Shelf

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def test_cells_are_edited_and_imputed(visit: Any, shelf: Shelf) -> None:
    """A changed cell is kept, an emptied one is filled in as `impute` does."""
    page = visit("/repair?model=wine&x=row:4&seed=1")
    page.get_by_label("malic_acid").fill("2.5")
    page.get_by_label("malic_acid").press("Tab")
    eventually(lambda: cells(page, "malic_acid")[0], "2.5")
    page.get_by_label("alcohol").fill("")
    page.get_by_label("alcohol").press("Tab")
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


def test_table_has_a_latent_too(visit: Any, shelf: Shelf) -> None:
    """A click on its map decodes to a row."""
    page = visit("/latent?model=wine")
    before = cells(page, "proline")
    page.locator("svg .point").nth(5).click(force=True)
    found = eventually(lambda: cells(page, "proline"), other_than=before)
    page.wait_for_url("**x=row*")
    assert found == [cell_text(of_link(page, shelf)["proline"].iloc[0])]


def upload(page: Any, name: str, data: bytes) -> str:
    """Gives a file; what is said of it."""
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/csv", "buffer": data})
    note = page.locator(".fine[role=status]")
    note.filter(has_text=name).wait_for()
    return note.inner_text()


def test_row_is_uploaded_and_imputed(visit: Any, shelf: Shelf) -> None:
    """A file with two rows: the first is taken, its gap filled in as `impute` does, and the link leads there again. Then
    the second, which has no gap.
    """
    page = visit("/repair?model=wine&seed=1")
    frame = shelf["wine"].rows.take([7, 8]).astype(object)
    frame["alcohol"], frame["cultivar"] = [None, 13.0], ["barolo", "barbera"]
    frame = frame[frame.columns[::-1]]
    assert "wines.csv, its row 0" in upload(page, "wines.csv", frame.to_csv(index=False).encode())
    filled = shelf["wine"].ask(frame[:1], {"task": "impute", "num_samples": 200, "seed": 1}).iloc[0]
    eventually(lambda: cells(page, "alcohol")[:2], ["missing", cell_text(filled["alcohol"])])
    assert cells(page, "cultivar")[:2] == ["barolo", "barolo"]
    own = page.get_by_label("Row of the file, 0 to 1")
    own.fill("2")
    own.press("Tab")
    page.get_by_text("the file has rows 0 to 1; there is no other").wait_for()
    own.fill("1")
    own.press("Tab")
    eventually(lambda: cells(page, "cultivar")[0], "barbera")
    eventually(lambda: cells(page, "alcohol")[0], "13")
    page.get_by_text("wines.csv, its row 1").wait_for()
    own.fill("0")
    own.press("Tab")
    eventually(lambda: cells(page, "alcohol")[:2], ["missing", cell_text(filled["alcohol"])])
    page.reload()
    eventually(lambda: cells(page, "alcohol")[:2], ["missing", cell_text(filled["alcohol"])])
    assert own.count() == 0, "the file is gone"
    page.get_by_label("alcohol").fill("12.5")  # and its cells can be changed
    page.get_by_label("alcohol").press("Tab")
    eventually(lambda: cells(page, "alcohol")[0], "12.5")


def test_hostile_table_is_refused(visit: Any, tmp_path: Path) -> None:
    """What is no table, or another one, is said as text, with the column, and the page stays as it was."""
    page = visit("/repair?model=wine&x=row:4")
    before = page.locator(".answer tbody").inner_text()
    assert "no text in UTF-8" in upload(page, "a.csv", b"\x89PNG\r\n\x1a\n")
    assert "unknown column '<img" in upload(page, "b.csv", HOSTILE.encode() + b"\n1\n")
    assert "column 'alcohol' is missing" in upload(page, "<img src=x onerror=window.harmed=1>.csv", b"ash\n=1+1\n")
    huge = tmp_path / "huge.csv"
    huge.write_bytes(bytes(50_000_000))
    page.locator("input[type=file]").set_input_files(huge)
    page.locator(".fine[role=status]", has_text="more than 8 MiB").wait_for()
    assert page.locator(".fine[role=status]").locator("img, script").count() == 0
    assert page.locator(".answer tbody").inner_text() == before
    assert page.evaluate("window.harmed") is None
