"""A trial: a stack of lanes that trains inside its own process, and tells Ray Tune how each lane does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from ray import tune
from ray.util.queue import Empty, Queue

from tuning.frontier import Trial, hypervolume
from tuning.scores import rankings, reference_nats, scores_of
from tuning.space import SearchConfig
from tuning.stacks import checkpoints_of, lane_configs, split
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.model import VAE
from vae.training.distributed import TrainSpec, train
from vae.training.lanes import LaneHooks, LaneTraining
from vae.training.loop import Training
from vae.training.record import Record
from vae.training.reports import EpochReport, Hooks
from vae.training.state import load_model
from vae.training.world import World, set_up_process

SCORE = "score"
"""What trials are compared by, the less the better; see `SearchConfig.stop_by`."""
LANES = "lanes"
"""What a trial reports of each of its lanes, as JSON."""
POLL_SECONDS = 0.5
"""Between looks at whether a Ray Train run has ended."""


def run_trial(parameters: dict[str, Any], *, config: dict[str, Any], dataset: str, folder: str, division: int) -> None:
    """One trial, in its own process: the stack or the model that it trains, or the Ray Train run that it waits for.

    From its checkpoints it goes on exactly where another process was lost.

    Args:
        parameters: What Ray Tune drew.
        config: The search.
        dataset: URI of the dataset's folder.
        folder: URI of the search's folder.
        division: Stacks of one architecture.
    """
    search = SearchConfig.model_validate(config)
    set_up_process(search.cpus_per_trial)
    data, parts = Dataset.open(dataset), split(search, division)
    configs = lane_configs(search, parts, parameters)
    checkpoints = checkpoints_of(folder, parameters)
    device = torch.device("cuda" if search.gpus_per_trial and torch.cuda.is_available() else "cpu")
    teller = _Teller(search, configs, data)
    try:
        if configs[0].scaling.num_workers > 1:
            teller.follow_workers(TrainSpec(configs[0], dataset, checkpoints, "trial"))
        elif parts.lanes:
            teller.follow(LaneTraining(configs, data, device, checkpoints, teller))
        else:
            teller.follow_one(Training(configs[0], data, World(device=device), checkpoints, _OneHooks(teller)))
    except BetalineError as error:
        teller.refuse(str(error))


class _Teller(LaneHooks):
    """Tells Ray Tune of every epoch, for each lane: the latest report, those that are new, scores, and why it failed."""

    def __init__(self, search: SearchConfig, configs: Sequence[RunConfig], dataset: Dataset) -> None:
        self.search, self.configs, self.dataset = search, configs, dataset
        self.records: Sequence[Record] = ()
        self.failed: Mapping[int, str] = {}
        self.model_of: Callable[[int], VAE] | None = None
        self.scores: dict[int, dict[str, float]] = {}
        self.told = [0] * len(configs)
        self.has_told = False

    def follow(self, training: LaneTraining) -> None:
        """Trains a stack to its end."""
        self.records, self.failed, self.model_of = training.records, training.failed, training.model_of
        training.run()
        self._tell_what_is_left()

    def follow_one(self, training: Training) -> None:
        """Trains one model to its end."""
        self.records, self.model_of = [training.record], lambda lane: training.best_model()
        training.run()
        self._tell_what_is_left()

    def follow_workers(self, spec: TrainSpec) -> None:
        """Trains one model on several workers, and waits for them."""
        record = Record(spec.config, 0)
        self.records, self.model_of = [record], lambda lane: load_model(f"{spec.folder}/model")
        epochs = Queue(actor_options={"num_cpus": 0})
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(train, spec, on_report=epochs.put)
            while not running.done():
                with suppress(Empty):
                    reported = [EpochReport(**one) for one in epochs.get(timeout=POLL_SECONDS)]
                    if not reported[-1].is_last:  # or there is no model to score yet
                        record.history += reported
                        self.tell()
        record.restore(running.result().history)
        self.told = [0]  # a run that was taken up again has reported its later epochs alone
        self.tell()

    def on_epoch(self, reports: Mapping[int, EpochReport]) -> None:
        self.tell()

    def _tell_what_is_left(self) -> None:
        """A trial that was over when it was taken up has no more epochs to tell of."""
        if not self.has_told:
            self.tell()

    def tell(self) -> None:
        """Every epoch since the last time; after a resume, from the start."""
        self._measure()
        lanes = []
        for lane, record in enumerate(self.records):
            new = [asdict(report) for report in record.history[self.told[lane] :]]
            self.told[lane] = len(record.history)
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
        self._report(epoch, [lane["best"] for lane in alive], lanes)

    def _measure(self) -> None:
        """The scores of lanes that are over; those of a rule that compares lanes once all of them are."""
        assert self.model_of is not None, "there is a training to tell of"
        over = [n for n, record in enumerate(self.records) if record.is_over and n not in self.failed]
        if self.search.select == "udr":
            if len(over) + len(self.failed) == len(self.records):
                models = {n: self.model_of(n) for n in over}
                self.scores = rankings({n: self.configs[n] for n in over}, models, self.dataset)
            return
        for n in over:
            if n not in self.scores:
                self.scores[n] = scores_of(self.model_of(n), self.search.select, self.configs[n], self.dataset)

    def refuse(self, reason: str) -> None:
        """Every lane failed, for a reason that another attempt would not change."""
        lane = {"last": None, "best": None, "new": [], "scores": {}, "error": reason}
        self._report(1, [], [lane for _ in self.configs])

    def _report(self, epoch: int, best: Sequence[Mapping[str, Any]], lanes: Sequence[Mapping[str, Any]]) -> None:
        self.has_told = True
        tune.report({SCORE: self._score(best), "epoch": epoch, LANES: json.dumps(lanes)})

    def _score(self, best: Sequence[Mapping[str, Any]]) -> float:
        """Returns the score of a trial from the epoch that would ship of each lane that has not failed."""
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


def _steps_per_second(history: Sequence[EpochReport]) -> float | None:
    """In the last epoch, validation included; None before the first."""
    if not history:
        return None
    last, before = history[-1], history[-2].elapsed_seconds if len(history) > 1 else 0.0
    # The clock of a process that took the training up starts anew.
    seconds = last.elapsed_seconds - before if before < last.elapsed_seconds else last.elapsed_seconds
    return last.step / last.epoch / seconds


class _OneHooks(Hooks):
    """Tells of one model as of a stack of one."""

    def __init__(self, teller: _Teller) -> None:
        self.teller = teller

    def on_epoch(self, report: EpochReport) -> None:
        self.teller.tell()
