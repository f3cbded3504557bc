"""What the pages say of the code is so, and what they point at is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from vae.presets import PRESETS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "infra/**/*.md", "tests/benchmarks/results/*.md")
    for page in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


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


def test_every_field_is_in_the_page_of_the_configuration() -> None:
    """`docs/configuration.md` is what the types say today."""
    written = runpy.run_path(str(ROOT / "docs" / "configuration.py"))["page"]()
    assert (ROOT / "docs" / "configuration.md").read_text() == written, "run `python docs/configuration.py`"


def test_every_preset_is_in_the_readme() -> None:
    """The table has each preset as `betaline presets` lists it, in that order."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    expected = [(name, preset.summary.replace("|", "\\|"), preset.reference) for name, preset in PRESETS.items()]
    assert rows == expected
