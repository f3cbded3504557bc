"""The contest for an alias: candidate and champion on the same test rows with the same draws, until it is decided."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.jobs.scoring import RowScores, Subject, bound_rows, score_rows
from pipelines.jobs.workers import Workers
from pipelines.models.versions import Comparison
from vae import progress
from vae.metrics.likelihood import Bound, RowLikelihoods, Sums
from vae.metrics.paired import CONFIDENCE, interval, looks, standard_error

PRECISION = 0.005
"""Standard error, as a share of the score, at which a score that nothing is compared with is precise enough."""
MOST_ROWS, BOUND_ROWS = 10_000, 2_000
"""Largest number of rows for such a score, and for the bound, unless all rows are asked for."""
PARTS_PER_WORKER, MOST_BATCHES = 4, 32
"""Smallest number of calls for each worker in a look, if there are as many batches, and largest number of batches of a
call."""


@dataclass
class Rows:
    """Scores of a model on the first rows of the test split, which grow."""

    workers: Workers
    subject: Subject
    num_samples: int
    whose: str
    """Words that name the model."""
    nats: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Negative log-likelihood of each row so far, [N]."""
    num_observed: int = 0
    """Number of observed values of the rows that were measured here."""

    def grow(self, stop: int) -> None:
        """Measures the rows up to `stop`."""
        start = done = len(self.nats)
        if stop <= start:
            return
        nats = np.concatenate([self.nats, np.full(stop - start, np.nan)])
        self._announce(done)
        parts = cut(start, stop, self.subject.batch_rows, self.workers.room)
        calls = {self.workers.start(score_rows, self.subject, self.num_samples, *part): part for part in parts}
        for call in self.workers.finish(calls):
            (first, last), scores = calls[call], call.result
            assert isinstance(scores, RowScores)
            nats[first:last] = scores.nats
            self.num_observed += scores.num_observed
            done += last - first
            self._announce(done)
        self.nats = nats

    def _announce(self, done: int) -> None:
        progress.report(f"likelihood of {self.whose}", done, self.subject.num_rows, "test examples")

    @property
    def likelihoods(self) -> RowLikelihoods:
        """Scores of the rows, as the mean is taken of them."""
        return RowLikelihoods(torch.from_numpy(self.nats), self.num_observed)


def cut(start: int, stop: int, batch: int, num_workers: int) -> list[tuple[int, int]]:
    """Returns consecutive parts of whole batches, several for each worker."""
    batches = math.ceil((stop - start) / batch)
    rows = batch * max(1, min(MOST_BATCHES, batches // (PARTS_PER_WORKER * num_workers)))
    return [(first, min(first + rows, stop)) for first in range(start, stop, rows)]


def bound_on(workers: Workers, subject: Subject, exact: bool) -> Bound:
    """Returns the bound on the first rows of the test split, or on all."""
    rows = subject.num_rows if exact else min(BOUND_ROWS, subject.num_rows)
    calls = [workers.start(bound_rows, subject, *part) for part in cut(0, rows, subject.batch_rows, workers.room)]
    for _ in workers.finish(calls):
        pass
    # In the order of the rows: a sum of floats depends on it.
    return Sums(torch.stack([call.result.vector.cpu() for call in calls]).sum(0)).bound()


def compete(candidate: Rows, champion: Rows | None, threshold_nats: float | None, exact: bool) -> Comparison | None:
    """Measures candidate and champion on ever more rows until the decision is sure, or on all rows.

    The decision is that on the mean of all rows at the full number of importance samples: a bound of fewer samples is
    biased by different amounts for two models. So rows grow, and samples do not.

    Args:
        candidate: Rows of the candidate.
        champion: Rows of the champion; None if nothing has the alias that can be compared.
        threshold_nats: Largest score with which the alias may move; None for any.
        exact: Whether to measure all rows.

    Returns:
        The paired difference; None without a champion.
    """
    total = candidate.subject.num_rows
    sizes = [total] if exact else looks(total)
    if champion is None and threshold_nats is None and not exact:
        sizes = looks(min(MOST_ROWS, total))
    for size in sizes:
        candidate.grow(size)
        if not np.isfinite(candidate.nats).all():
            break
        if champion is not None:
            champion.grow(size)
        if _is_decided(candidate, champion, threshold_nats, len(sizes)):
            break
    if champion is None or not np.isfinite(candidate.nats).all():
        return None
    rows = len(candidate.nats)
    found = interval(candidate.nats - champion.nats[:rows], len(sizes))
    return Comparison(found.mean, found.low, found.high, CONFIDENCE, rows, total)


def _is_decided(candidate: Rows, champion: Rows | None, threshold_nats: float | None, num_looks: int) -> bool:
    """Returns whether more rows would hardly change the decision; without one to take, whether the score is precise."""
    rows = len(candidate.nats)
    compared: list[NDArray[np.float64]] = []
    if champion is not None:
        compared.append(candidate.nats - champion.nats[:rows])
    if threshold_nats is not None:
        compared.append(candidate.nats - threshold_nats)
    if not compared:
        return standard_error(candidate.nats) <= PRECISION * abs(float(candidate.nats.mean()))
    return all(interval(differences_N, num_looks).is_sure for differences_N in compared)
