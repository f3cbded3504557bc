"""How many rows a decision takes: few for a clear pair, all for a close one and with `exact`, and none twice."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pipelines.jobs import contest
from pipelines.jobs.contest import Rows, compete, cut
from pipelines.jobs.scoring import RowScores, Subject
from tests.workers import InProcess

TOTAL = 5000
NOISE_N = np.random.default_rng(0).normal(0, 1, TOTAL)
SCORES = {"good": 100 + NOISE_N, "same": 100 + NOISE_N + 0.01 * np.sin(np.arange(TOTAL)), "bad": 101 + 1.5 * NOISE_N}


class Split:
    """A test split of so many rows and nothing else."""

    def num_rows(self, split: str) -> int:
        """Returns the number of rows."""
        return TOTAL


@pytest.fixture(autouse=True)
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """The parts that were scored, by the names of models whose scores are known."""
    parts: list[tuple[str, int, int]] = []

    def score(subject: Subject, num_samples: int, start: int, stop: int) -> RowScores:
        parts.append((subject.model, start, stop))
        return RowScores(SCORES[subject.model][start:stop], 0)

    monkeypatch.setattr(contest, "score_rows", score)
    monkeypatch.setattr(Subject, "batch_rows", 16)
    return parts


def rows_of(name: str, known: int = 0) -> Rows:
    dataset: Any = Split()
    workers: Any = InProcess()
    return Rows(workers, Subject(name, dataset, None, "cpu"), 200, name, SCORES[name][:known])


@pytest.mark.parametrize(
    ("candidate", "champion", "threshold", "exact", "rows"),
    [
        ("good", "bad", None, False, 128),
        ("bad", "good", None, False, 128),
        ("good", "same", None, False, TOTAL),
        ("good", "bad", None, True, TOTAL),
        ("good", "bad", 100.02, False, TOTAL),
        ("good", None, 99.0, False, 128),
        ("good", None, None, False, 128),
        ("good", None, None, True, TOTAL),
    ],
)
def test_rows_are_as_many_as_the_decision_needs(
    candidate: str, champion: str | None, threshold: float | None, exact: bool, rows: int
) -> None:
    """And the comparison is that of exactly these rows."""
    mine = rows_of(candidate)
    found = compete(mine, rows_of(champion) if champion else None, threshold, exact)
    assert len(mine.nats) == rows
    assert (found is None) == (champion is None)
    if found is not None and champion is not None:
        assert found.nats == pytest.approx((SCORES[candidate] - SCORES[champion])[:rows].mean())
        assert (found.num_examples, found.total) == (rows, TOTAL)


def test_rows_of_an_earlier_evaluation_are_not_scored_again(scored: list[tuple[str, int, int]]) -> None:
    """Of the champion only the rows that are missing are scored."""
    champion = rows_of("same", known=500)
    compete(rows_of("good"), champion, None, exact=False)
    assert champion.nats.tolist() == SCORES["same"].tolist()
    assert min(start for name, start, _ in scored if name == "same") == 500


def test_parts_are_whole_units_for_every_worker() -> None:
    """They cover the rows once and in order."""
    for workers in (1, 3, 16):
        parts = cut(160, 1000, 16, workers)
        assert parts[0][0] == 160
        assert parts[-1][1] == 1000
        assert all(one[1] == other[0] and one[1] % 16 == 0 for one, other in pairwise(parts))
        assert len(parts) >= min(4 * workers, 53)
