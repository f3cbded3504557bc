"""The pages: links and file names lead somewhere, figures are quoted exactly, and lists of the code are complete."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import cast

import click
import pytest
import typer

from pipelines.cli.command import app
from vae.config import RunConfig
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
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
RESULTS = ROOT / "tests" / "benchmarks" / "results"
RESULT = re.compile(r"benchmarks/results/([\w-]+)\.md\)")
USE = re.compile(r"`--use ([a-z]+)`")
FIGURE = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?")
NOT_MEASURED = {"95"}
"""Numbers beside a link to a page of results that were not measured: the level of an interval."""


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as hosts of Markdown write them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(page.read_text())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every file, picture and heading that a page links exists."""
    for target, anchor in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(linked), f"{target} has no heading #{anchor}"


@pytest.mark.parametrize("package", ["pipelines", "tuning", "vae"])
def test_code_names_files_that_exist(package: str) -> None:
    """Every Python file that a docstring or a comment names in backticks exists."""
    for file in (ROOT / package).rglob("*.py"):
        for named in FILE.findall(file.read_text()):
            assert any((base / named).exists() for base in (ROOT, ROOT / package, file.parent)), f"{file}: {named}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != RESULTS], ids=lambda page: page.name)
def test_commands_of_a_page_are_accepted(page: Path) -> None:
    """The command line accepts every `betaline` command of a code block; modules and targets that a page runs exist."""
    commands = cast(click.Group, typer.main.get_command(app)).commands
    text = page.read_text()
    shown = "".join(BLOCK.findall(text))
    for line in re.findall(r"^betaline [a-z].*", shown, re.MULTILINE):
        name, *arguments = shlex.split(line, comments=True)[1:]
        commands[name].make_context(name, arguments)
    for module in re.findall(r"python -m (tests[\w.]*)", text):
        file = module.replace(".", "/")
        assert (ROOT / f"{file}.py").exists() or (ROOT / file / "__main__.py").exists(), module
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {*re.findall(r"`make (\w+)`", text), *re.findall(r"^make (\w+)", shown, re.MULTILINE)} <= {*targets}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_page_names_code_that_exists(page: Path) -> None:
    """Every file and every module of the product and the tests that a page names in backticks exists."""
    rooms = r"`((?:vae|tuning|pipelines|tests)"
    for name in re.findall(rooms + r"(?:/[a-z_.*]+)+)", page.read_text()):
        assert [*ROOT.glob(name.removesuffix("/"))], name
    for name in re.findall(rooms + r"(?:\.[a-z_]+)+)\b", page.read_text()):
        module = ROOT / name.replace(".", "/")
        assert any(file.is_dir() or file.with_suffix(".py").exists() for file in (module, module.parent)), name


def blocks(page: Path) -> list[str]:
    """Returns the paragraphs, list items and table rows of a page that has figures in words, without its code blocks."""
    text = BLOCK.sub("", page.read_text())
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


def test_every_measurement_links_its_page() -> None:
    """Every row of the README's table of measurements links a page of results."""
    section = re.split(r"\n(?=#)", (ROOT / "README.md").read_text().split("## Measured\n")[1])[0]
    _header, *rows = re.findall(r"^\| .*\|$", section, re.MULTILINE)
    assert rows
    assert not [row for row in rows if not RESULT.search(row)]


def test_map_of_the_house_names_every_folder() -> None:
    """The map in CONTRIBUTING.md has each folder of the product and each room of the tests, and no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    above: list[str] = []
    named = set()
    for line in re.findall(r"^ *\w+/ .*$", text.split("```")[1], re.MULTILINE):
        depth = (len(line) - len(line.lstrip())) // 2
        above[depth:] = [line.split("/")[0].strip()]
        named.add("/".join(above))
    products = {
        file.parent.relative_to(ROOT) for room in ("vae", "tuning", "pipelines") for file in (ROOT / room).rglob("*.py")
    }
    rooms = {folder.relative_to(ROOT) for folder in (ROOT / "tests").iterdir() if any(folder.glob("*.py"))}
    mirrored = {Path("tests", room) for room in ("vae", "tuning", "pipelines")}
    assert {str(folder) for folder in (products | rooms) - mirrored} <= named
    assert not [name for name in named if not (ROOT / name).is_dir()]


def test_every_kind_of_part_is_in_the_page_of_models() -> None:
    """The table of parts in `docs/models.md` names every kind of every union."""
    page, maker = (ROOT / "docs" / "models.md").read_text(), runpy.run_path(str(ROOT / "docs" / "configuration.py"))
    sections = [RunConfig.model_fields[name].annotation for name in ("model", "objective", "data")]
    kinds = [
        maker["kind_of"](kind) for section in sections for _, models in maker["choices"](section) for kind in models
    ]
    assert kinds
    assert not [kind for kind in kinds if f"`{kind}`" not in page]


def test_every_field_is_in_the_page_of_the_configuration() -> None:
    """`docs/configuration.md` is what its program makes of the types."""
    written = runpy.run_path(str(ROOT / "docs" / "configuration.py"))["page"]()
    assert (ROOT / "docs" / "configuration.md").read_text() == written, "run `python docs/configuration.py`"


def test_every_preset_is_in_the_readme() -> None:
    """The table has each preset as `betaline presets` lists it, in that order."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    expected = [(name, preset.summary.replace("|", "\\|"), preset.reference) for name, preset in PRESETS.items()]
    assert rows == expected
