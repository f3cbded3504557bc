"""Stacks: which dimensions of a search ride in lanes, and which are left to Ray Tune."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuning.frontier import SEED
from tuning.space import Choice, Scalar, SearchConfig, Space, configuration, grid, grid_size, labels
from vae.config import RunConfig, override
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.training.lanes import LANE_FIELDS, bytes_of_a_lane, refusal

STACK = "stack"
"""The dimension of Ray Tune's that says which stack of an architecture's a trial is; no field of the configuration."""


@dataclass(frozen=True)
class Split:
    """A space in two."""

    lanes: Space
    """Choices that trials train together; empty where a trial is one model."""
    searched: Space
    """What Ray Tune draws, with `STACK` where the lanes are divided."""
    reason: str | None
    """Why there are no lanes, where there might have been."""
    division: int = 1
    """Stacks that the lanes of one architecture are divided into."""

    @property
    def points(self) -> list[dict[str, Scalar]]:
        """What each lane has of its own: every combination, by label."""
        return list(grid(self.lanes))

    @property
    def settings(self) -> int:
        """Combinations of the lanes, whatever their seed."""
        return math.prod(len(labels(d)) for field, d in self.lanes.items() if field != SEED and isinstance(d, Choice))

    def drawn(self, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """What Ray Tune drew for the trial that a lane was part of, and which lane it was, from the lane's parameters."""
        shared = {field: parameters[field] for field in self.searched if field != STACK}
        for stack in range(self.division):
            drawn = {**shared, STACK: stack} if self.division > 1 else shared
            for lane, point in enumerate(self.points_of(drawn)):
                if {**shared, **point} == parameters:
                    return drawn, lane
        raise AssertionError(f"{parameters} are those of a lane")

    def points_of(self, parameters: Mapping[str, Any]) -> list[dict[str, Scalar]]:
        """Those of one of Ray Tune's trials. The seeds of a setting stay together, and each stack has settings from
        everywhere, so that none is worse than the others from the start.
        """
        settings: dict[str, list[dict[str, Scalar]]] = {}
        for point in self.points:
            settings.setdefault(str({**point, SEED: None}), []).append(point)
        own = list(settings.values())[parameters.get(STACK, 0) :: self.division]
        return [point for setting in own for point in setting]


def split(search: SearchConfig, division: int = 1) -> Split:
    """Takes the choices of β, seed and learning rate for lanes, unless some model of the space cannot be stacked.

    Args:
        search: The search.
        division: See `divide`.
    """
    stacked: Space = {
        field: dimension
        for field, dimension in search.space.items()
        if field in LANE_FIELDS and isinstance(dimension, Choice)
    }
    if not search.lanes or not stacked:
        return Split({}, search.space, None)
    for config in variants(search):
        if (reason := refusal(config)) is not None:
            return Split({}, search.space, reason)
    searched = {field: dimension for field, dimension in search.space.items() if field not in stacked}
    if division > 1:
        searched[STACK] = Choice(values=tuple(range(division)))
    return Split(stacked, searched, None, division)


def divide(search: SearchConfig, workers: int) -> int:
    """Into how many stacks the lanes of each architecture are divided, so that no worker is idle for long.

    A stack is taken to cost as much as its lanes and one lane more. Where Ray Tune draws fewer combinations than there are,
    lanes stay together, or settings would be left out; and where trials are compared by their fronts, which would be cut.
    """
    parts = split(search)
    architectures = grid_size(parts.searched)
    if not parts.lanes or search.stop_by == "hypervolume" or architectures is None:
        return 1
    if search.num_trials is not None and search.num_trials < architectures:
        return 1
    seeds = len(parts.points) // parts.settings

    def rounds_times_cost(division: int) -> int:
        rounds = math.ceil(architectures * division / workers)
        return rounds * (1 + seeds * math.ceil(parts.settings / division))

    return min(range(1, parts.settings + 1), key=rounds_times_cost)


def variants(search: SearchConfig) -> list[RunConfig]:
    """The base, and what each choice by itself makes of it."""
    found = [search.base]
    for field, dimension in search.space.items():
        if isinstance(dimension, Choice) and field not in LANE_FIELDS:
            found += [override(search.base, {field: value}, f"space.{field}") for value in dimension.values]
    return found


def config_of(search: SearchConfig, parts: Split, parameters: Mapping[str, Any]) -> RunConfig:
    """The configuration of a trial, from all that was drawn for it. Lanes see the batches of the base's seed."""
    config = configuration(search, {field: value for field, value in parameters.items() if field != STACK})
    if not parts.lanes:
        return config
    return override(config, {"training.data_seed": search.base.training.seed_of_data}, "search")


def lane_configs(search: SearchConfig, parts: Split, parameters: Mapping[str, Any]) -> list[RunConfig]:
    """Those of every lane of one of Ray Tune's trials."""
    return [config_of(search, parts, {**parameters, **point}) for point in parts.points_of(parameters)]


def checkpoints_of(folder: str, drawn: Mapping[str, Any]) -> str:
    """Where in a search's folder a trial keeps its checkpoints: called after what Ray Tune drew for it."""
    named = json.dumps(drawn, sort_keys=True).encode()
    return f"{folder}/trials/{hashlib.sha256(named).hexdigest()[:16]}"


def check_memory(search: SearchConfig, parts: Split, dataset: Dataset, bytes_of_a_trial: float) -> None:
    """Refuses stacks that would not fit, before anything is trained.

    Args:
        search: The search.
        parts: Its lanes.
        dataset: What is trained on.
        bytes_of_a_trial: Memory that each of the trials that run at once has.

    Raises:
        ConfigError: Says what a lane takes, and how many would fit.
    """
    lanes = len(parts.points_of({}))
    if lanes < 2:
        return
    needed, config = max(((bytes_of_a_lane(one, dataset), one) for one in variants(search)), key=lambda pair: pair[0])
    data = min(config.training.memory_budget_bytes, _bytes_of(dataset))
    fitting = int((bytes_of_a_trial - data) // needed)
    if fitting >= lanes:
        return
    body = next(iter(labels(Choice(values=(config.model.encoder.model_dump(mode="json"),)))))
    raise ConfigError(
        f"space: {lanes} lanes of {body} with batches of {config.training.batch_size} take {lanes * needed / 2**20:,.0f} "
        f"MiB beside {data / 2**20:,.0f} MiB of data, and a trial has {bytes_of_a_trial / 2**20:,.0f} MiB: "
        f"{max(0, fitting)} lanes would fit. Take fewer choices of {', '.join(parts.lanes)}, a smaller batch or model, or "
        "set lanes to false"
    )


def _bytes_of(dataset: Dataset) -> int:
    row = dataset.manifest.example.row_bytes
    return row * sum(dataset.num_rows(name) for name in ("train", "validation"))
