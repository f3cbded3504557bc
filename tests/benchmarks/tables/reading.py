"""Reading of real CSV files, compared with what their authors say that each one holds.

The files are read from BETALINE_TEST_DATA (default `../shared/data` beside the checkout), folder `csv-real`.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from dateutil import parser as date_parser

from tests.benchmarks.ingest import data_folder
from tests.benchmarks.page import bullets, grid, machine, read_words
from tests.benchmarks.tables.readers import OURS, READERS, Found, read_truth, read_with

TRUTH_FAULTS = frozenset({("O18_air.csv", "0.\\")})
"""Cells of the truth that their file does not have."""
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "#n/a", "-nan", "<na>"})
"""Texts, in lower case, that a reader may give as a missing value."""
_SHOWN = 160

Verdict = Literal["right", "refused", "misread, said", "misread, unsaid"]
VERDICTS: tuple[Verdict, ...] = ("misread, unsaid", "misread, said", "refused", "right")
"""Verdicts on a reading, worst first."""


@dataclass(frozen=True)
class Agreement:
    """Comparison of a table as it was read with the truth."""

    verdict: Verdict
    header: bool
    columns: bool
    rows: bool
    cells: float
    """Share of the cells of the truth that were read as the truth has them, at their place."""
    remark: str
    """What differs, or the refusal, with what the reader says."""


def agreement(found: Found, truth: Found, name: str) -> Agreement:
    """Compares a table with the truth about its file."""
    if found.refusal:
        return Agreement("refused", False, False, False, 0.0, found.refusal)
    truth = _fitted(truth, found)
    header, columns = _same_names(found.header, truth.header), len(found.header) == len(truth.header)
    rows = found.num_rows == truth.num_rows
    total = sum(map(len, truth.columns))
    same = sum(
        (name, expected) in TRUTH_FAULTS or _is_same(value, expected)
        for column, expected_column in zip(found.columns, truth.columns, strict=False)
        for value, expected in zip(column, expected_column, strict=False)
    )
    cells = same / total if total else 1.0
    if header and columns and rows and same == total:
        return Agreement("right", True, True, True, 1.0, "")
    parts = [] if columns else [f"{len(found.header)} columns of {len(truth.header)}"]
    parts += [] if rows else [f"{found.num_rows:,} rows of {truth.num_rows:,}"]
    parts += [] if header else [f"names such as {_differing(found.header, truth.header)}"]
    parts += [] if same == total else [f"{same:,} of {total:,} cells agree"]
    verdict: Verdict = "misread, said" if found.said else "misread, unsaid"
    said = f". Said: {'; '.join(found.said)}" if found.said else ""
    return Agreement(verdict, header, columns, rows, cells, "; ".join(parts) + said)


def _fitted(truth: Found, found: Found) -> Found:
    """Returns the truth without a last column that is empty and that the reader left out."""
    if len(found.header) == len(truth.header) - 1 and not any(map(str.strip, truth.columns[-1])):
        return Found(truth.header[:-1], truth.columns[:-1])
    return truth


def _same_names(found: Sequence[str], truth: Sequence[str]) -> bool:
    """Returns whether the names agree; any name does for a column that has none, or one that another column has."""
    counts = Counter(truth)
    return len(found) == len(truth) and all(
        not name or counts[name] > 1 or name == f"col_{place}" or _is_same(own, name)
        for place, (own, name) in enumerate(zip(found, truth, strict=True))
    )


def _differing(found: Sequence[str], truth: Sequence[str]) -> str:
    pairs = zip(found, truth, strict=False)
    own, name = next((pair for pair in pairs if not _same_names(pair[:1], pair[1:])), (found[-1:], truth[-1:]))
    return f"{own!r} for {name!r}"


def _is_same(value: Any, expected: str) -> bool:
    """Returns whether a value is the one that a text means."""
    text = " ".join(expected.split())
    match value:
        case None:
            return text.lower() in MISSING
        case str():
            return " ".join(value.split()) == text
        case bool():
            return text.lower() in (("true", "t", "yes") if value else ("false", "f", "no"))
        case datetime() | date() | time():
            return _is_same_time(value, text)
        case _:
            return _is_same_number(float(value) if not isinstance(value, timedelta) else math.nan, text)


def _is_same_number(value: float, text: str) -> bool:
    try:
        return math.isclose(value, float(Decimal(text.replace("_", "x"))), rel_tol=1e-12) or text.lower() == "nan"
    except ArithmeticError:
        return False


def _is_same_time(value: datetime | date | time, text: str) -> bool:
    for day_first in (True, False):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read = date_parser.parse(text, dayfirst=day_first)
        except (ValueError, OverflowError):
            return False
        if value in (read, read.date(), read.time()):
            return True
    return False


def write_page(page: Path) -> None:
    """Reads every file with every reader, and writes the page."""
    folder = data_folder().parent / "csv-real"
    if not folder.is_dir():
        raise SystemExit(f"no {folder}: set BETALINE_TEST_DATA to the folder that holds csv-real/")
    names = sorted(path.name for path in (folder / "csv").iterdir())
    page.write_text(render({name: _agreements(folder, name) for name in names}))
    print(f"wrote {page}")


def _agreements(folder: Path, name: str) -> dict[str, Agreement]:
    parameters = json.loads((folder / "parameters" / f"{name}_parameters.json").read_text())
    truth = read_truth(folder / "clean" / name, parameters["header_lines"] != "0")
    return {reader: agreement(read_with(read, folder / "csv" / name), truth, name) for reader, read in READERS.items()}


def render(found: Mapping[str, Mapping[str, Agreement]]) -> str:
    """Returns the page in Markdown: agreements by file and reader."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "pandas", "polars"))
    words = read_words("tables-reading", {"files": len(found)})
    own = {name: readers[OURS] for name, readers in found.items()}
    missed = [name for name in _worst_first(found) if own[name].verdict != "right"]
    parts = [
        f"# {words.title}",
        f"`python -m tests.benchmarks.tables --part reading`, {datetime.now(UTC):%Y-%m-%d}. {words.legend}",
        "## What was not read right, and why",
        bullets(f"`{name}` ({own[name].verdict}): {_plain(own[name].remark)}" for name in missed) or "- Nothing.",
        bullets(words.sections["Shortfalls"]),
        "## Figures",
        grid(("reader", *reversed(VERDICTS)), [_counts(found, reader) for reader in READERS]),
        grid(("agrees with the truth", "header", "columns", "rows", "all cells"), [_parts(found, r) for r in READERS]),
        "## Files",
        grid(("file", *READERS), [_row(name, found[name]) for name in _worst_first(found)]),
        "## What the readers say, and what differs",
        bullets(_remarks(found)),
        f"## Protocol\n\n{bullets(words.sections['Protocol'])}",
        f"{versions}. {machine()}",
    ]
    return "\n\n".join(parts) + "\n"


def _worst_first(found: Mapping[str, Mapping[str, Agreement]]) -> list[str]:
    def badness(name: str) -> tuple[int, int, str]:
        verdicts = [VERDICTS.index(one.verdict) for one in found[name].values()]
        return VERDICTS.index(found[name][OURS].verdict), sum(verdicts), name

    return sorted(found, key=badness)


def _counts(found: Mapping[str, Mapping[str, Agreement]], reader: str) -> list[str]:
    counts = Counter(readers[reader].verdict for readers in found.values())
    return [reader, *(str(counts[verdict]) for verdict in reversed(VERDICTS))]


def _parts(found: Mapping[str, Mapping[str, Agreement]], reader: str) -> list[str]:
    own = [readers[reader] for readers in found.values()]
    sums = (sum(one.header for one in own), sum(one.columns for one in own), sum(one.rows for one in own))
    return [reader, *map(str, (*sums, sum(one.cells == 1 for one in own)))]


def _row(name: str, readers: Mapping[str, Agreement]) -> list[str]:
    marks = {"right": "right", "refused": "refused"}
    return [f"`{name}`", *(marks.get(one.verdict, f"**{one.verdict}**") for one in readers.values())]


def _remarks(found: Mapping[str, Mapping[str, Agreement]]) -> list[str]:
    lines = []
    for name in _worst_first(found):
        lines += [
            f"`{name}`, {reader}: {one.verdict}. {_plain(one.remark)}"
            for reader, one in found[name].items()
            if reader != OURS and one.verdict != "right"
        ]
    return lines


def _plain(text: str) -> str:
    """Returns a text that Markdown shows as it is, cut where it is long."""
    plain = " ".join(text.split()).replace("`", "'").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
    return plain if len(plain) <= _SHOWN else plain[:_SHOWN] + " …"
