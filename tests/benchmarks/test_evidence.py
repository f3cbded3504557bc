"""Verdicts of result pages follow from the figures of single seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.benchmarks.evidence import by_seed, interval, paired
from tests.benchmarks.page import RESULTS, VERDICTS, WORDS, Claim, Table, Words, write
from tests.benchmarks.reproduce import disentanglement, nll
from tests.benchmarks.work import Outcome


def test_interval_is_that_of_students_test() -> None:
    """The interval excludes a bound exactly where the t-test rejects it at 5 %."""
    values = np.random.default_rng(0).normal(1.0, 2.0, 6).tolist()
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("bound", "above", "below"), [(0.5, True, False), (1.0, None, None), (2.0, False, True)], ids=str
)
def test_verdict_needs_the_whole_interval(bound: float, above: bool | None, below: bool | None) -> None:
    """A bound inside of the interval is neither passed nor missed."""
    found = interval([0.9, 1.0, 1.1])
    assert (found.above(bound), found.below(bound)) == (above, below)


def test_verdict_of_one_seed_is_never_reached() -> None:
    """A single seed shows nothing, however large its difference."""
    found = interval([5.37])
    assert (found.above(0), found.below(0)) == (None, None)
    assert found.text(2, "+") == "+5.37 (one seed: no interval)"


def test_pairing_goes_by_seed() -> None:
    """Differences are of equal seeds, in whatever order the jobs ended; a seed that one row lacks is left out."""
    outcomes = [
        Outcome(row, "data", seed, {"score": score}, 1.0)
        for row, seed, score in (("a", 1, 5.0), ("b", 0, 1.0), ("a", 0, 2.0), ("b", 1, 3.0), ("a", 2, 9.0))
    ]
    assert paired(by_seed(outcomes, "a", "score"), by_seed(outcomes, "b", "score")) == [1.0, 2.0]


def test_page_tells_failures_first_and_keeps_every_seed(tmp_path: Path) -> None:
    """Claims that fail or are not shown open the page, and the figures of all seeds lie beside it as JSON."""
    claims = [
        Claim("first", "1", "1", True),
        Claim("second", "2", "1", False),
        Claim("third", "3", "1 (one seed: no interval)", None),
    ]
    words = Words("A table", "Legend.", {"Protocol": ["Done."], "Shortfalls": ["Short."]})
    table = Table(words, (), lambda outcomes: "| figures |", lambda outcomes: claims)
    outcomes = [Outcome("row", "data", seed, {"score": seed / 3}, 1.0) for seed in range(2)]
    write(tmp_path / "page.md", table, outcomes, "command", 1.0, 1)
    page = (tmp_path / "page.md").read_text()
    order = ["second: expected 2", "third: expected 3", "Short.", "| figures |", "| holds | first", "Done."]
    assert sorted(order, key=page.index) == order
    assert "| **does not hold** | second" in page
    assert "| **not shown** | third" in page
    stored = json.loads((tmp_path / "page.json").read_text())
    assert [Outcome(**outcome) for outcome in stored] == outcomes


def cells(page: str) -> list[list[str]]:
    """Returns the rows of every table of a page of results."""
    lines = (RESULTS / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]


def each(cell: str) -> list[float]:
    """Returns the figures of single seeds of a cell such as `0.6 ± 0.1 (0.5, 0.7)`, or its one figure."""
    listed = re.search(r"\((.*)\)", cell)
    return [float(figure) for figure in (listed[1].split(", ") if listed else [cell])]


def disentanglement_claims() -> Sequence[Claim]:
    """Returns the claims of the figures that the page on disentanglement lists by seed."""
    rows = [line for line in cells("disentanglement-cpu.md") if line[0] in disentanglement.ROWS and "±" in line[2]]
    return disentanglement.claims(
        [
            Outcome(row, "sprites", seed, {"factor_vae": score, "mig": gap}, 0.0)
            for row, _, scores, gaps in rows
            for seed, (score, gap) in enumerate(zip(each(scores), each(gaps), strict=True))
        ]
    )


def nll_claims() -> Sequence[Claim]:
    """Returns the claims of the figures that the page on likelihoods lists by seed."""
    rows = [line for line in cells("nll-cpu.md") if line[0] in nll.ROWS and len(line) == 5]
    return nll.claims(
        [
            Outcome(row, setting, seed, {"nll": nats}, 0.0)
            for row, setting, _, here, _ in rows
            for seed, nats in enumerate(each(here))
        ]
    )


@pytest.mark.parametrize(
    ("page", "claims_of", "rounding"),
    [("disentanglement-cpu.md", disentanglement_claims, 0.004), ("nll-cpu.md", nll_claims, 0.05)],
    ids=["disentanglement", "nll"],
)
def test_claims_follow_from_the_seeds_of_the_page(
    page: str, claims_of: Callable[[], Sequence[Claim]], rounding: float
) -> None:
    """Each verdict and interval is that of the figures which the same page lists by seed, up to their rounding."""
    written = {line[1]: line for line in cells(page) if line[0] in VERDICTS.values()}
    claims = claims_of()
    assert list(written) == [claim.text for claim in claims]
    for claim in claims:
        verdict, _, target, found = written[claim.text]
        assert (verdict, target) == (VERDICTS[claim.holds], claim.target), claim
        figures, expected = ([float(f) for f in re.findall(r"[+-]\d+\.\d+", text)] for text in (found, claim.found))
        assert figures == pytest.approx(expected, abs=rounding), claim


@pytest.mark.parametrize("file", sorted(WORDS.glob("*.md")), ids=lambda file: file.stem)
def test_prose_of_every_page_has_a_title_and_a_protocol(file: Path) -> None:
    """Every template of `tests/benchmarks/words` has a title, a legend, shortfalls and a protocol."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    assert headings[-1] == "Protocol"
    assert any(heading.startswith("Shortfalls") for heading in headings[1:-1])
