"""A trial: a stack of lanes that trains inside its own process, and tells Ray Tune how each lane does."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from ray import tune

from tuning.scores import scores_of
from tuning.space import SearchConfig
from tuning.stacks import lane_configs, split
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.lanes import LaneHooks, LaneTraining
from vae.model import VAE
from vae.record import Record
from vae.reports import EpochReport, Hooks
from vae.training import Training
from vae.world import World

SCORE = "validation_negative_bound"
LANES = "lanes"
"""What a trial reports of each of its lanes, as JSON."""


def run_trial(parameters: dict[str, Any], *, config: dict[str, Any], dataset: str, folder: str) -> None:
    """One trial, in its own process: it needs one worker, so it is that worker.

    Its checkpoints are called after what it trains, so that it goes on exactly where another process was lost.
    """
    search_config = SearchConfig.model_validate(config)
    torch.set_num_threads(search_config.cpus_per_trial)
    device = torch.device("cuda" if search_config.gpus_per_trial and torch.cuda.is_available() else "cpu")
    data, parts = Dataset.open(dataset), split(search_config)
    configs = lane_configs(search_config, parts, parameters)
    named = json.dumps(parameters, sort_keys=True).encode()
    checkpoints = f"{folder}/{hashlib.sha256(named).hexdigest()[:16]}"
    teller = _Teller(search_config.select, configs, data)
    try:
        if parts.lanes:
            teller.follow(LaneTraining(configs, data, device, checkpoints, teller))
        else:
            teller.follow_one(Training(configs[0], data, World(device=device), checkpoints, _OneHooks(teller)))
    except BetalineError as error:
        teller.refuse(str(error))


class _Teller(LaneHooks):
    """Tells Ray Tune of every epoch, for each lane: the latest report, those that are new, scores, and why it failed."""

    def __init__(self, rule: str, configs: Sequence[RunConfig], dataset: Dataset) -> None:
        self.rule, self.configs, self.dataset = rule, configs, dataset
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

    def on_epoch(self, reports: Mapping[int, EpochReport]) -> None:
        self.tell()

    def _tell_what_is_left(self) -> None:
        """A trial that was over when it was taken up has no more epochs to tell of."""
        if not self.has_told:
            self.tell()

    def tell(self) -> None:
        """Every epoch since the last time; after a resume, from the start."""
        assert self.model_of is not None, "there is a training to tell of"
        lanes = []
        for lane, record in enumerate(self.records):
            if record.is_over and lane not in self.scores and lane not in self.failed:
                self.scores[lane] = scores_of(self.model_of(lane), self.rule, self.configs[lane], self.dataset)
            new = [asdict(report) for report in record.history[self.told[lane] :]]
            self.told[lane] = len(record.history)
            lanes.append(
                {
                    "last": asdict(record.history[-1]) if record.history else None,
                    "new": new,
                    "scores": self.scores.get(lane, {}),
                    "error": self.failed.get(lane),
                }
            )
        alive = [lane["last"] for lane in lanes if lane["last"] and not lane["error"]]
        self._report(max((last["epoch"] for last in alive), default=1), alive, lanes)

    def refuse(self, reason: str) -> None:
        """Every lane failed, for a reason that another attempt would not change."""
        self._report(1, [], [{"last": None, "new": [], "scores": {}, "error": reason} for _ in self.configs])

    def _report(self, epoch: int, alive: Sequence[Mapping[str, Any]], lanes: Sequence[Mapping[str, Any]]) -> None:
        score = min((last[SCORE] for last in alive), default=math.inf)
        self.has_told = True
        tune.report({SCORE: score, "epoch": epoch, LANES: json.dumps(lanes)})


class _OneHooks(Hooks):
    """Tells of one model as of a stack of one."""

    def __init__(self, teller: _Teller) -> None:
        self.teller = teller

    def on_epoch(self, report: EpochReport) -> None:
        self.teller.tell()
