"""Splits and order."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.data.ingest.splits import assign_splits, draw_rows, order_rows
from pipelines.data.sources import SplitConfig, Survey
from vae.data.schema import ExampleSpec


def survey(num_rows: int, **facts) -> Survey:
    """Returns a survey of some rows, without a reader."""
    example = ExampleSpec((1, 1, 1))
    return Survey(files=(), example=example, num_rows=num_rows, reader=None, **facts)  # type: ignore[arg-type]


def labelled(counts: list[int], **facts) -> Survey:
    """Returns a survey with some rows of each class, in the order of the classes."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    classes = tuple(f"c{i}" for i in range(len(counts)))
    return survey(len(labels), labels=labels, classes=classes, **facts)


@pytest.mark.parametrize("counts", [[700, 200, 100], [3, 3, 3, 991], [2, 998], [50] * 20])
@pytest.mark.parametrize("fractions", [(0.1, 0.1), (0.25, 0), (0.003, 0.2)])
def test_splits_are_exact_and_stratified(counts, fractions) -> None:
    """Totals are the rounded fractions, each class gets its share to within one, and none leaves training."""
    facts = labelled(counts)
    splits, problems = assign_splits(facts, SplitConfig(validation=fractions[0], test=fractions[1]), 0)
    assert not problems
    for split, fraction in ((1, fractions[0]), (2, fractions[1])):
        assert (splits == split).sum() == round(fraction * 1000)
        shares = np.bincount(facts.labels[splits == split], minlength=len(counts))
        assert (np.abs(shares - np.array(counts) * fraction) <= 1).all()
    assert (np.bincount(facts.labels[splits == 0], minlength=len(counts)) >= 1).all()


def test_splits_without_labels_are_exact() -> None:
    """Without labels, counts are exact and the rows are spread over the source."""
    splits, _ = assign_splits(survey(10_000), SplitConfig(), 0)
    assert np.bincount(splits).tolist() == [8000, 1000, 1000]
    assert abs(np.flatnonzero(splits == 2).mean() - 5000) < 400


def test_splits_follow_the_seed() -> None:
    """The same seed gives the same splits, another seed others."""
    first, second, other = (assign_splits(labelled([50, 50]), SplitConfig(), seed)[0] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_splits_name_lone_classes() -> None:
    """A class with one example cannot be split, and is named; it may stay where nothing is held out."""
    facts = labelled([5, 1, 5, 1])
    _, problems = assign_splits(facts, SplitConfig(), 0)
    assert [str(problem) for problem in problems] == [
        f"class {name!r} has one example; a stratified split needs at least 2" for name in ("c1", "c3")
    ]
    splits, problems = assign_splits(facts, SplitConfig(validation=0, test=0), 0)
    assert not problems
    assert (splits == 0).all()


def test_splits_of_the_source_win() -> None:
    """A test split of the source stays as it is, and validation is a fraction of its training split."""
    own = np.array([0] * 60 + [2] * 40, np.uint8)
    splits, _ = assign_splits(survey(100, own_splits=own), SplitConfig(validation=0.1, test=0.5), 0)
    assert (splits[60:] == 2).all()
    assert np.bincount(splits[:60]).tolist() == [54, 6]


def test_splits_leave_out_excluded_rows() -> None:
    """A bad row is in no split, and does not count."""
    excluded = np.zeros(100, bool)
    excluded[:50] = True
    splits, _ = assign_splits(survey(100, excluded=excluded), SplitConfig(validation=0, test=0.1), 0)
    assert (splits[:50] == 255).all()
    assert (splits == 2).sum() == 5


def test_order_mixes_classes_and_keeps_every_row_once() -> None:
    """Every row of a split comes once, and a run of rows holds all classes in their proportions."""
    facts = labelled([500, 500])
    splits, _ = assign_splits(facts, SplitConfig(), 0)
    order = order_rows(facts, splits, 0)
    assert np.sort(np.concatenate(list(order.values()))).tolist() == list(range(1000))
    share = facts.labels[order["train"]].reshape(8, 100).mean(axis=1)
    assert (np.abs(share - 0.5) < 0.2).all()


def test_order_keeps_groups_together() -> None:
    """Rows of one group follow one another, shuffled."""
    facts = survey(100, groups=np.repeat(np.arange(4, dtype=np.int32), 25))
    train = order_rows(facts, np.zeros(100, np.uint8), 0)["train"]
    groups = (train // 25).reshape(4, 25)
    assert (groups == groups[:, :1]).all()
    assert (np.diff(train) != 1).sum() > 50


def test_drawn_rows_are_as_many_as_asked_for() -> None:
    """A draw takes exactly so many of the good rows, spread over the source; another seed takes others."""
    excluded = np.zeros(1000, bool)
    excluded[::10] = True
    facts = survey(1000, excluded=excluded)
    first, second = (draw_rows(facts, 90, seed).excluded for seed in (0, 1))
    assert first is not None
    assert (~first).sum() == 90
    assert first[excluded].all()
    assert abs(np.flatnonzero(~first).mean() - 500) < 150
    assert not np.array_equal(first, second)
    for enough in (None, 900, 2000):
        assert draw_rows(facts, enough, 0) is facts
