"""Draws by place: the same however rows are cut, and distributed as they say."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from vae.draws import RowDraws
from vae.seeds import Stream

LEVELS = torch.arange(256, dtype=torch.uint8).repeat(40).view(40, 16, 16)
KINDS: dict[str, Callable[[RowDraws, slice], Tensor]] = {
    "normal": lambda draws, rows: draws.normal(len(LEVELS[rows]), 3, 5),
    "uniform": lambda draws, rows: draws.uniform(len(LEVELS[rows]), 7),
    "below": lambda draws, rows: draws.below(5, len(LEVELS[rows]), 1),
    "binary": lambda draws, rows: draws.binary(LEVELS[rows]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_draws_belong_to_their_row(kind: str) -> None:
    """A part of the rows, at its place, and one seed among several draw what the whole does; a second call draws anew."""
    draw = KINDS[kind]
    source = RowDraws(3, Stream.STEP, 8)
    whole, second = draw(source, slice(None)), draw(source, slice(None))
    assert not torch.equal(whole, second)
    for start, stop in [(0, 13), (13, 14), (14, 40)]:
        assert torch.equal(whole[start:stop], draw(RowDraws(3, Stream.STEP, 8, first=start), slice(start, stop)))
    assert torch.equal(draw(RowDraws([9, 3], Stream.STEP, 8), slice(None))[1], whole)
    for other in (RowDraws(4, Stream.STEP, 8), RowDraws(3, Stream.STEP, 9), RowDraws(3, Stream.PRESENTATION, 8)):
        assert not torch.equal(whole, draw(other, slice(None)))


def test_words_are_splitmix64() -> None:
    """The first words of the published generator from seed 0, which has its state before the first increment."""
    state, expected = 0, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        word = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        expected.append(word ^ word >> 31)
    assert expected[0] == 0xE220A8397B1DCDAF, "the generator's published first word"
    source = RowDraws(0, Stream.STEP, first=1)
    source.key_of = lambda seed: 0  # pyright: ignore[reportAttributeAccessIssue]
    assert [word % 2**64 for word in source.words(3, 1).flatten().tolist()] == expected


@pytest.mark.parametrize("count", [1, 2, 33])
def test_normals_are_normal(count: int) -> None:
    """Kolmogorov and Smirnov see no difference, and neighbours are independent."""
    drawn = RowDraws(0, Stream.STEP).normal(200_000 // count, count).double().numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    flat = drawn.ravel()
    for lag in (1, 2, count):
        assert abs(np.corrcoef(flat[:-lag], flat[lag:])[0, 1]) < 5 / math.sqrt(len(flat))


def test_uniforms_and_integers_are_uniform() -> None:
    """In [0, 1), and every integer below the limit as often."""
    drawn = RowDraws(1, Stream.STEP).uniform(1000, 101)
    assert 0 <= drawn.min() < 1e-4 < 1 - 1e-4 < drawn.max() < 1
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > 1e-3
    counts = RowDraws(1, Stream.STEP).below(7, 70_000, 1).flatten().bincount(minlength=7)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_pixels_are_white_as_often_as_they_are_bright() -> None:
    """Each grey level is its own probability; black and white are certain."""
    drawn = RowDraws(2, Stream.PRESENTATION).binary(torch.arange(256, dtype=torch.uint8).repeat(4000, 1))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    share = drawn.mean(0).double().numpy()
    level = np.arange(256) / 255
    assert share[0] == 0
    assert share[255] == 1
    inner = slice(1, 255)
    deviations = (share - level)[inner] / np.sqrt(level * (1 - level) / 4000)[inner]
    assert np.abs(deviations).max() < 5
    assert abs(deviations.std() - 1) < 0.15


def test_samples_belong_to_their_row_and_number() -> None:
    """Some samples of some rows are those of all, at any place; a second call and another call's samples are others."""
    source = RowDraws(3, Stream.EVALUATION)
    call, second = source.next(), source.next()
    whole = call.normal_samples(range(9), range(20), 3, 2)
    assert whole.shape == (9, 20, 3, 2)
    assert (
        stats.kstest(RowDraws(0, Stream.STEP).normal_samples(range(500), range(40), 3).flatten().numpy(), "norm").pvalue
        > 1e-3
    )
    assert torch.equal(call.normal_samples(range(2, 7), range(5, 9), 3, 2), whole[2:7, 5:9])
    later = RowDraws(3, Stream.EVALUATION, first=5).next()
    assert torch.equal(later.normal_samples(range(9), range(4), 3, 2), whole[:, 5:9])
    assert not (second.normal_samples(range(9), range(20), 3, 2) == whole).any()
    flat = whole.flatten(1)
    assert len(flat.unique(dim=0)) == 9


def test_rows_without_values_are_empty() -> None:
    """A posterior of codes draws no noise."""
    assert RowDraws(0, Stream.STEP).normal(4, 1, 0).shape == (4, 1, 0)
