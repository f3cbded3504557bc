"""Finding datasets by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vae.data.catalog import resolve
from vae.data.manifest import MANIFEST_NAME
from vae.errors import DataError


@pytest.fixture
def shelf(digits, tmp_path) -> Path:
    """A home with two datasets called `digits`, the second newer, and one called `wine`."""
    for name, identity, day in (("digits", "ab" * 32, 1), ("digits", "cd" * 32, 2), ("wine", "ab" * 32, 1)):
        folder = tmp_path / "datasets" / name / identity
        shutil.copytree(digits.uri, folder)
        manifest = digits.manifest.model_dump(mode="json")
        made = f"2026-01-0{day}T00:00:00Z"
        text = digits.manifest.model_validate({**manifest, "created_at": made}).model_dump_json()
        (folder / MANIFEST_NAME).write_text(text)
    (tmp_path / "datasets" / "digits" / ("ef" * 32)).mkdir()
    return tmp_path


def test_resolve_name_is_the_newest(shelf) -> None:
    """A name alone is its newest complete dataset."""
    assert resolve(str(shelf), "digits") == str(shelf / "datasets" / "digits" / ("cd" * 32))


def test_resolve_prefix_is_that_one(shelf) -> None:
    """NAME@PREFIX is the dataset whose identity begins so; none or several is an error that lists them."""
    assert resolve(str(shelf), "digits@ab") == str(shelf / "datasets" / "digits" / ("ab" * 32))
    expected = "no dataset of 'digits' whose identity begins with 'ef'. There are: digits@cdcdcdcdcdcd, digits@abab"
    with pytest.raises(DataError, match=expected):
        resolve(str(shelf), "digits@ef")


def test_resolve_path_is_itself(shelf) -> None:
    """A folder is taken as it is, if it is a dataset."""
    folder = shelf / "datasets" / "wine" / ("ab" * 32)
    assert resolve("/nowhere", str(folder)) == str(folder)
    with pytest.raises(DataError, match=r"it has no manifest\.json"):
        resolve("/nowhere", str(folder.parent))


def test_resolve_unknown_name_says_what_there_is(shelf, tmp_path) -> None:
    """A typing error gets a suggestion; an empty home says how to make a dataset."""
    with pytest.raises(DataError, match=r"no dataset 'digit' .*\(did you mean `digits`\?\)\. There are: digits"):
        resolve(str(shelf), "digit")
    with pytest.raises(DataError, match="Make one with `betaline ingest SOURCE x`"):
        resolve(str(tmp_path / "empty"), "x")
