"""A search's worker: it trains a stack of lanes in its own process and reports each lane to Ray Tune."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property, partial
from itertools import islice
from typing import Any

import torch
from ray import tune
from ray.util.queue import Empty, Queue

from tuning.frontier import Trial, hypervolume
from tuning.rules import RULES, measured
from tuning.space import SearchConfig
from tuning.stacks import checkpoints_of, lane_configs, plan_stacks
from vae.config import RunConfig
from vae.data.batches import InOrder
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.metrics.likelihood import bound_sums
from vae.model import VAE
from vae.training.assembly import build_model, share_of
from vae.training.distributed import TrainSpec, train
from vae.training.hooks import EpochReport, Hooks
from vae.training.lanes import LaneTraining
from vae.training.loop import Training
from vae.training.record import Record
from vae.training.state import load_model
from vae.training.world import ALONE, World, set_up_process

SCORE = "score"
"""Key of the score by which Ray Tune compares stacks, lower is better; see `SearchConfig.stop_by`."""
LANES = "lanes"
"""Key of the reports on each lane, as JSON."""
POLL_SECONDS = 0.5
"""Seconds between looks at whether a Ray Train run has ended."""
NUM_REFERENCE_BATCHES = 4
"""Batches of 1,024 examples that `reference_nats` is measured on."""


def train_stack(
    parameters: dict[str, Any], *, config: dict[str, Any], dataset: str, folder: str, division: int
) -> None:
    """Trains one stack, one model, or one Ray Train run of several workers, and reports its epochs to Ray Tune.

    Training goes on exactly from the checkpoints that a lost process has left.

    Args:
        parameters: Values that Ray Tune drew.
        config: The search, as JSON.
        dataset: URI of the dataset's folder.
        folder: URI of the search's folder.
        division: Stacks per architecture.
    """
    search = SearchConfig.model_validate(config)
    set_up_process(search.cpus_per_trial)
    data, plan = Dataset.open(dataset, checks_shards=True), plan_stacks(search, division)
    configs = lane_configs(search, plan, parameters)
    checkpoints = checkpoints_of(folder, parameters)
    device = torch.device("cuda" if search.gpus_per_trial and torch.cuda.is_available() else "cpu")
    reporter = Reporter(search, configs, data)
    try:
        if configs[0].scaling.num_workers > 1:
            reporter.follow_workers(TrainSpec(configs[0], dataset, checkpoints, "trial"))
        elif plan.lanes:
            reporter.follow(LaneTraining(configs, data, device, checkpoints, reporter.on_epoch))
        else:
            hooks = _SingleHooks(reporter)
            reporter.follow_one(Training(configs[0], data, World(device=device), checkpoints, hooks))
    except BetalineError as error:
        reporter.refuse(str(error))


class Reporter:
    """Reports every epoch to Ray Tune: for each lane its latest and its new epochs, its scores, and why it failed."""

    def __init__(self, search: SearchConfig, configs: Sequence[RunConfig], dataset: Dataset) -> None:
        self.search, self.configs, self.dataset = search, configs, dataset
        self.rule = RULES.get(search.select)
        """Rule that needs scores; None for a target, which the reported epochs suffice for."""
        self.records: Sequence[Record] = ()
        self.failed: Mapping[int, str] = {}
        self.model_of: Callable[[int], VAE] | None = None
        self.scores: dict[int, dict[str, float]] = {}
        self.num_reported = [0] * len(configs)
        """Epochs of each lane that Ray Tune has."""
        self.has_reported = False

    def follow(self, training: LaneTraining) -> None:
        """Trains a stack to its end."""
        self.records, self.failed, self.model_of = training.records, training.failed, training.model_of
        training.run()
        self._report_once()

    def follow_one(self, training: Training) -> None:
        """Trains one model to its end."""
        self.records, self.model_of = [training.record], lambda lane: training.best_model()
        training.run()
        self._report_once()

    def follow_workers(self, spec: TrainSpec) -> None:
        """Trains one model on several workers, which score it too, and waits for them."""
        record = Record(spec.config, 0)
        self.records, self.model_of = [record], lambda lane: load_model(f"{spec.folder}/model", trust_code=True)
        at_end = None if self.rule is None else partial(measured, self.rule.name)
        epochs = Queue(actor_options={"num_cpus": 0})
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(train, spec, on_report=epochs.put, at_end=at_end)
            while not running.done():
                with suppress(Empty):
                    reported = [EpochReport(**one) for one in epochs.get(timeout=POLL_SECONDS)]
                    if not reported[-1].is_last:  # or there is no model to score yet
                        record.history += reported
                        self.report()
        outcome = running.result()
        record.restore(outcome.history)
        self.scores = {0: outcome.scores}
        self.num_reported = [0]  # a resumed run has reported its later epochs alone
        self.report()

    def on_epoch(self, reports: Mapping[int, EpochReport]) -> None:
        """Reports an epoch of a stack."""
        self.report()

    def _report_once(self) -> None:
        """Reports a training that was over when it was resumed, and so had no more epochs to report."""
        if not self.has_reported:
            self.report()

    def report(self) -> None:
        """Reports every epoch since the last time; after a resume, from the start."""
        self._measure()
        lanes = []
        for lane, record in enumerate(self.records):
            new = [asdict(report) for report in record.history[self.num_reported[lane] :]]
            self.num_reported[lane] = len(record.history)
            lanes.append(
                {
                    "last": asdict(record.history[-1]) if record.history else None,
                    "best": asdict(record.best) if record.best else None,
                    "new": new,
                    "scores": self.scores.get(lane, {}),
                    "error": self.failed.get(lane),
                    "steps_per_second": _steps_per_second(record.history),
                }
            )
        alive = [lane for lane in lanes if lane["last"] and not lane["error"]]
        epoch = max((lane["last"]["epoch"] for lane in alive), default=1)
        self._send(epoch, [lane["best"] for lane in alive], lanes)

    def _measure(self) -> None:
        """Scores lanes that are over; a rule that compares lanes scores them once all are."""
        if self.rule is None or self.rule.reported is not None:
            return
        assert self.model_of is not None, "a training is followed"
        over = [n for n, record in enumerate(self.records) if record.is_over and n not in self.failed]
        if self.rule.compare is None:
            for n in over:
                if n not in self.scores:
                    self.scores[n] = measured(self.rule.name, self.model_of(n), self.configs[n], self.dataset, ALONE)
        elif len(over) + len(self.failed) == len(self.records):
            models = {n: self.model_of(n) for n in over}
            scores = self.rule.compare({n: self.configs[n] for n in over}, models, self.dataset)
            self.scores = {n: {self.rule.name: score} for n, score in scores.items()}

    def refuse(self, reason: str) -> None:
        """Reports every lane as failed, for a reason that another attempt would not change."""
        lane = {"last": None, "best": None, "new": [], "scores": {}, "error": reason}
        self._send(1, [], [lane for _ in self.configs])

    def _send(self, epoch: int, best: Sequence[Mapping[str, Any]], lanes: Sequence[Mapping[str, Any]]) -> None:
        self.has_reported = True
        tune.report({SCORE: self._score(best), "epoch": epoch, LANES: json.dumps(lanes)})

    def _score(self, best: Sequence[Mapping[str, Any]]) -> float:
        """Returns the score of a stack from the epoch that would ship of each lane that has not failed."""
        if self.search.stop_by == "bound" or not best:
            return min((epoch["validation_negative_bound"] for epoch in best), default=math.inf)
        front = [
            Trial(str(n), {}, "running", epoch["epoch"], epoch["validation_distortion"], epoch["validation_rate"])
            for n, epoch in enumerate(best)
        ]
        return -hypervolume(front, self._reference_nats, self._reference_nats)

    @cached_property
    def _reference_nats(self) -> float:
        return reference_nats(self.search.base, self.dataset)


def reference_nats(config: RunConfig, dataset: Dataset) -> float:
    """Returns the size of an untrained model's ELBO on some validation examples, and at least a nat for each value.

    Any front worth having stays below it on both axes, and it is the same wherever it is computed. The ELBO of a
    density may be near 0 by chance, though its rates are not: hence the minimum.
    """
    model = build_model(config, dataset)
    batches = islice(InOrder(share_of(config, dataset, "validation")), NUM_REFERENCE_BATCHES)
    bound = bound_sums(model, batches, seed=config.training.seed).bound()
    return max(float(model.examples.num_values), abs(bound.negative_elbo))


def _steps_per_second(history: Sequence[EpochReport]) -> float | None:
    """Returns the speed in the last epoch, validation included; None before the first epoch."""
    if not history:
        return None
    last, before = history[-1], history[-2].elapsed_seconds if len(history) > 1 else 0.0
    # The clock starts anew in a process that resumes the training.
    seconds = last.elapsed_seconds - before if before < last.elapsed_seconds else last.elapsed_seconds
    return last.step / last.epoch / seconds


class _SingleHooks(Hooks):
    """Reports one model as a stack of one lane."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def on_epoch(self, report: EpochReport) -> None:
        """Reports an epoch."""
        self.reporter.report()
