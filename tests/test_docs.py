"""What the pages say of the code is so, and what they point at is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from vae.config.presets import PRESETS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "infra/**/*.md", "tests/benchmarks/results/*.md")
    for page in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FILE = re.compile(r"`([\w/]+\.py)`")
RESULTS = ROOT / "tests" / "benchmarks" / "results"
RESULT = re.compile(r"benchmarks/results/([\w-]+)\.md\)")
USE = re.compile(r"`--use ([a-z]+)`")
FIGURE = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?")
NOT_MEASURED = {"95"}
"""Numbers beside a link to a page of results that are no figures: the level of an interval."""


def anchors(page: Path) -> set[str]:
    """What a link may name in a page: its headings as hosts of Markdown write them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(page.read_text())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every file, picture and heading that a page points at is there."""
    for target, anchor in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        found = page.parent / target if target else page
        assert found.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(found), f"{target} has no heading #{anchor}"


@pytest.mark.parametrize("package", ["pipelines", "tuning", "vae"])
def test_code_names_files_that_exist(package: str) -> None:
    """Every Python file that a docstring or a comment names in backticks is there."""
    for file in (ROOT / package).rglob("*.py"):
        for named in FILE.findall(file.read_text()):
            assert any((base / named).exists() for base in (ROOT, ROOT / package, file.parent)), f"{file}: {named}"


def blocks(page: Path) -> list[str]:
    """Returns the paragraphs, list items and table rows of a page that has figures in words, without its code blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.split(r"\n\n+|\n(?=[-|] ?)", text)


def figures(text: str) -> set[str]:
    """Returns the numbers of a text as they are written, but for those of code, links and pictures."""
    return set(FIGURE.findall(re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)))


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != RESULTS], ids=lambda page: page.name)
def test_quoted_figures_stand_on_the_page_of_results(page: Path) -> None:
    """A number beside a link to a page of results is written the same on that page."""
    for block in blocks(page):
        names = RESULT.findall(block) + [f"use-{use}" for use in USE.findall(block)]
        if names:
            measured = set().union(*(FIGURE.findall((RESULTS / f"{name}.md").read_text()) for name in names))
            assert figures(block) <= measured | NOT_MEASURED, f"not in {names}: {figures(block) - measured}\n{block}"


@pytest.mark.parametrize(("page", "heading"), [("README.md", "## Measured"), ("CHANGELOG.md", "### Measured")])
def test_every_measurement_links_its_page(page: str, heading: str) -> None:
    """Every row or item of what was measured leads to a page of results, or to the paragraphs that do."""
    section = re.split(r"\n(?=#)", (ROOT / page).read_text().split(f"{heading}\n")[1])[0]
    items = re.findall(r"^(?:- .*(?:\n  .*)*|\| .*\|)$", section, re.MULTILINE)
    rows = items[1:] if items[0].startswith("|") else items
    assert rows
    assert not [row for row in rows if not RESULT.search(row) and "#what-it-is-good-for" not in row]


def test_every_field_is_in_the_page_of_the_configuration() -> None:
    """`docs/configuration.md` is what the types say today."""
    written = runpy.run_path(str(ROOT / "docs" / "configuration.py"))["page"]()
    assert (ROOT / "docs" / "configuration.md").read_text() == written, "run `python docs/configuration.py`"


def test_every_preset_is_in_the_readme() -> None:
    """The table has each preset as `betaline presets` lists it, in that order."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    expected = [(name, preset.summary.replace("|", "\\|"), preset.reference) for name, preset in PRESETS.items()]
    assert rows == expected
