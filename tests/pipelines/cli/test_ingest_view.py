"""Text of a dry run of an ingest."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cli.ingest_view import SHOWN, dry_run_lines
from pipelines.data import ingest
from pipelines.data.sources import IngestConfig


def printed(config: IngestConfig, home: Path) -> str:
    screen = Console(file=StringIO(), width=120)
    for line in dry_run_lines(ingest.dry_run(config, str(home))):
        screen.print(line)
    return screen.file.getvalue()  # pyright: ignore


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A table of many columns, the first a category with many values."""
    names = [f"number_{index}" for index in range(99)]
    rows = [",".join([f"name{row % 150}", *(str(row * 7 + index) for index in range(99))]) for row in range(300)]
    (tmp_path / "wide.csv").write_text("\n".join([",".join(["who", *names]), *rows]))
    return tmp_path / "wide.csv"


def test_dry_run_of_a_table_is_short(wide: Path, tmp_path: Path) -> None:
    """Each of the first columns has a line with its role, type and number of values; the others are counted."""
    said = printed(IngestConfig(source=str(wide), name="wide"), tmp_path)
    lines = [line.split() for line in said.splitlines()]
    assert ["who", "feature", "category", "0", "150", "name0,", "name1,", "name2"] in lines
    assert ["number_0", "feature", "count", "0", "300", "0", "…", "2093:", "0,", "7,", "14"] in lines
    assert "Examples: rows of 100 columns" in said
    assert f"… and {100 - SHOWN} more" in said
    assert re.search(
        r"Needs: about [0-9.]+ [kM]B for the dataset; in each process [0-9.]+ MB of memory, 0 bytes of", said
    )
    assert len(lines) < SHOWN + 11


def test_dry_run_of_images_names_their_size_and_classes(tmp_path: Path) -> None:
    """Size, channels, classes, and the rows of each split."""
    said = printed(IngestConfig(source="sklearn:digits", name="digits"), tmp_path)
    assert "1,437 train, 180 validation, 180 test" in said
    assert "Classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in said
    assert "Examples: images of 8x8 pixels, 1 channel" in said
