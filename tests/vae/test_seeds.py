"""Seeds: one for each purpose, the same wherever it is derived again."""

from __future__ import annotations

import itertools

from vae.seeds import Stream, derive


def test_streams_of_a_run_share_no_seed() -> None:
    """Whatever a draw is for, and whatever its rank and step, no other draw of the run has its seed."""
    keys = [(), *itertools.product(range(4)), *itertools.product(range(4), range(20))]
    seeds = [derive(7, stream, *each) for stream in Stream for each in keys]
    assert len(set(seeds)) == len(seeds)


def test_seeds_of_two_runs_differ() -> None:
    """Runs with neighbouring seeds share no draw of any stream."""
    seeds = [derive(seed, stream, 0, 1) for seed in range(50) for stream in Stream]
    assert len(set(seeds)) == len(seeds)


def test_seed_is_pinned() -> None:
    """A seed stays what it is, so that a run of an earlier version can be repeated; generators of torch take it."""
    assert derive(0, Stream.STEP, 1, 2) == 5767689089839239060
    assert all(0 <= derive(seed, Stream.WEIGHTS) < 2**63 for seed in (0, 1, 2**32 - 1))
