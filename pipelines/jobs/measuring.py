"""Figures of a promotion, measured by workers: verdict, bound, scores, metrics of the tasks, and the reference of drift."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipelines.jobs.contest import Rows, bound_on, compete, cut
from pipelines.jobs.job import Job
from pipelines.jobs.scoring import Subject, champion_subject, open_model, protocol
from pipelines.jobs.workers import Call, Workers
from pipelines.models import drift, registry, row_scores
from pipelines.models.versions import Comparison, Score, Version
from pipelines.report import Evidence, gathering
from pipelines.stages.promote import PromoteRequest
from pipelines.stages.train import JudgedModel, TrainedModel
from vae import progress
from vae.config import MetricFamily
from vae.data.batches import Share
from vae.data.parquet import Dataset
from vae.errors import Diverged
from vae.metrics.likelihood import mean_likelihood
from vae.metrics.paired import standard_error
from vae.metrics.suite import NOISE, claimed, measure
from vae.parts.corruptions import CorruptionConfig
from vae.training.verdict import Finding


class Measuring:
    """Everything that is measured of a candidate, and of the champion beside it.

    Args:
        job: The promotion.
        trained: The training of the candidate.
        dataset: Dataset with the test split.
        known: Evidence that the training has left, with the model.
        workers: Workers that measure; this process does nothing that grows with the data.
    """

    def __init__(
        self, job: Job[PromoteRequest], trained: TrainedModel, dataset: Dataset, known: Evidence, workers: Workers
    ) -> None:
        assert known.model is not None
        self.request, self.known, self.model, self.workers = job.request, known, known.model, workers
        self.is_judged = isinstance(trained, JudgedModel)
        self.subject = Subject(trained.model, dataset, known.config.data.missing, workers.device)
        self.device = workers.device
        self.champion: Version | None = None
        self.champion_score: Score | None = None
        self.comparison: Comparison | None = None
        self.score: Score
        self.rows: NDArray[np.float64]
        self.reference: drift.Reference

    def steps(self) -> Iterator[Evidence]:
        """Measures one thing after the other; yields the evidence so far."""
        request, workers, dataset, model = self.request, self.workers, self.subject.dataset, self.model
        families: tuple[MetricFamily, ...] = tuple(dict.fromkeys((*claimed(model), *request.metrics)))
        corruption = self.known.config.objective.corruption or NOISE
        # Beside the likelihood, as one call each.
        judged = workers.start(_judge, replace(self.known, model=None), self.subject, self.is_judged)
        metrics = workers.start(_task_metrics, self.subject, families, corruption)
        extremes = self._start_extremes()
        share = Share.of(dataset, "test", missing=self.subject.missing)
        self.known = replace(self.known, rows=gathering.fixed_rows(share))
        self.known = replace(self.known, bound=bound_on(workers, self.subject, request.exact))
        yield self.known
        done = [call.result for call in workers.finish(extremes)]
        ranges = drift.ranges_of(done, model.examples.columns or ())
        reference = workers.start(_reference, self.subject, ranges)
        self._compete()
        yield self.known
        yield self._with(families, judged, reference, metrics)

    def _start_extremes(self) -> list[Call]:
        """Starts to look for the extremes of the training split, on all workers."""
        checked, columns = self.subject.dataset, self.model.examples.columns or ()
        dataset = Dataset(checked.uri, checked.manifest)  # the training has checked its own split
        parts = cut(0, dataset.num_rows("train"), drift.BLOCK_ROWS, self.workers.room)
        return [self.workers.start(drift.extremes_of, dataset, columns, *part) for part in parts]

    def _compete(self) -> None:
        """Scores the candidate, and the champion on the same rows."""
        request, config = self.request, self.known.config.model
        name = protocol(config, self.model.examples, self.subject.missing, request.num_samples)
        self.champion = registry.find(request.name, request.alias)
        theirs = self._champion_rows(name)
        mine = Rows(self.workers, self.subject, request.num_samples, "the candidate")
        self.comparison = compete(mine, theirs, request.threshold_nats, request.exact)
        nll = mean_likelihood(self.model, mine.likelihoods, request.num_samples)
        if not math.isfinite(nll.nats):
            raise Diverged(f"{name} of {request.run} is {nll.nats}: the model is not registered")
        self.known = replace(self.known, nll=nll)
        self.rows, self.score = mine.nats, self._score(name, mine.nats)
        if theirs is not None:
            self.champion_score = self._score(name, theirs.nats[: len(mine.nats)])
        elif self.champion is not None:
            self.champion_score = self.champion.score

    def _score(self, name: str, nats_N: NDArray[np.float64]) -> Score:
        error = standard_error(nats_N) if len(nats_N) > 1 else None
        dataset_id = self.subject.dataset.manifest.dataset_id
        return Score(float(nats_N.mean()), name, dataset_id, len(nats_N), error)

    def _champion_rows(self, name: str) -> Rows | None:
        """Returns the champion's scores as its own evaluation left them; None without one that can be compared."""
        if self.champion is None:
            return None
        asked = self.workers.start(champion_subject, self.champion, name, self.subject, self.request.num_samples)
        theirs = self.workers.result(asked)
        if theirs is None:
            return None
        with TemporaryDirectory() as scratch:
            dataset_id = self.subject.dataset.manifest.dataset_id
            stored = row_scores.read(self.champion, name, dataset_id, self.device, Path(scratch))
        whose = f"{self.champion.name} version {self.champion.version}"
        return Rows(self.workers, theirs, self.request.num_samples, whose, stored)

    def _with(self, families: tuple[MetricFamily, ...], judged: Call, reference: Call, metrics: Call) -> Evidence:
        """Returns the evidence with the results of the calls beside the likelihood."""
        for call, what in ((judged, "verdict"), (reference, "reference of drift"), (metrics, ", ".join(families))):
            if not call.is_done:
                progress.report(what)
            self.workers.result(call)
        self.reference = reference.result
        findings: list[Finding] = judged.result
        return replace(self.known, findings=findings, metrics=metrics.result)


# --- called by workers ----------------------------------------------------------------------------------------------


def _judge(known: Evidence, subject: Subject, is_judged: bool) -> list[Finding]:
    """Returns the findings of a training, which has judged itself unless it diverged or is a trial of a search."""
    if is_judged:
        return list(known.findings)
    return list(gathering.judged(known, subject.dataset, open_model(subject.model)).findings)


def _reference(subject: Subject, ranges: tuple[drift.Range, ...]) -> drift.Reference:
    return drift.reference_of(open_model(subject.model), subject.dataset, ranges)


def _task_metrics(
    subject: Subject, families: tuple[MetricFamily, ...], corruption: CorruptionConfig
) -> dict[str, float]:
    """Returns the metrics of the tasks that the model was trained for, and those that the request names."""
    if not families:
        return {}
    return measure(open_model(subject.model), subject.dataset, families, corruption=corruption)
