"""Stacks: the dimensions of a search that train as lanes of one stack, and those that Ray Tune draws."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuning.rules import SEED
from tuning.space import Choice, Scalar, SearchConfig, Space, configuration, grid, grid_size, labels
from vae.config import RunConfig, override
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.training.lanes import LANE_FIELDS, bytes_of_a_lane, refusal

STACK = "stack"
"""Dimension of Ray Tune that numbers the stacks of an architecture; no field of the configuration."""


@dataclass(frozen=True)
class StackPlan:
    """The division of a search's space into lanes and what Ray Tune draws."""

    lanes: Space
    """Choices that train together; empty if every stack is one model."""
    searched: Space
    """Dimensions that Ray Tune draws, `STACK` among them if an architecture has several stacks."""
    reason: str | None
    """Reason why the models cannot be stacked; None if they can, or if the search wants no lanes."""
    division: int = 1
    """Number of stacks that the lanes of one architecture are divided into."""

    @property
    def points(self) -> list[dict[str, Scalar]]:
        """Parameters of every lane of an architecture: each combination of the choices, by label."""
        return list(grid(self.lanes))

    @property
    def settings(self) -> int:
        """Number of combinations of the lanes' choices, seeds left out."""
        return math.prod(len(labels(d)) for field, d in self.lanes.items() if field != SEED and isinstance(d, Choice))

    def drawn(self, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Returns what Ray Tune drew for a lane's stack, and the lane's number in it, from the parameters of the lane."""
        shared = {field: parameters[field] for field in self.searched if field != STACK}
        for stack in range(self.division):
            drawn = {**shared, STACK: stack} if self.division > 1 else shared
            for lane, point in enumerate(self.points_of(drawn)):
                if {**shared, **point} == parameters:
                    return drawn, lane
        raise AssertionError(f"{parameters} are not the parameters of a lane")

    def points_of(self, drawn: Mapping[str, Any]) -> list[dict[str, Scalar]]:
        """Returns the parameters of the lanes of one stack.

        The seeds of a setting stay together. Each stack has settings from the whole range, so that no stack is worse
        than the others from the start.
        """
        settings: dict[str, list[dict[str, Scalar]]] = {}
        for point in self.points:
            settings.setdefault(str({**point, SEED: None}), []).append(point)
        own = list(settings.values())[drawn.get(STACK, 0) :: self.division]
        return [point for setting in own for point in setting]


def plan_stacks(search: SearchConfig, division: int = 1) -> StackPlan:
    """Plans the choices of β, seed and learning rate as lanes, unless some model of the space cannot be stacked.

    Args:
        search: The search.
        division: Stacks per architecture; see `divide`.
    """
    stacked: Space = {
        field: dimension
        for field, dimension in search.space.items()
        if field in LANE_FIELDS and isinstance(dimension, Choice)
    }
    if not search.lanes or not stacked:
        return StackPlan({}, search.space, None)
    for config in variants(search):
        if (reason := refusal(config)) is not None:
            return StackPlan({}, search.space, reason)
    searched = {field: dimension for field, dimension in search.space.items() if field not in stacked}
    if division > 1:
        searched[STACK] = Choice(values=tuple(range(division)))
    return StackPlan(stacked, searched, None, division)


def divide(search: SearchConfig, workers: int) -> int:
    """Returns the number of stacks per architecture that keeps the workers of a cluster busiest.

    The cost of a stack is taken to be that of its lanes and one lane more. Lanes stay together if Ray Tune draws fewer
    combinations than there are, or settings would be left out, and if trials are compared by their fronts, which a division
    would cut.
    """
    plan = plan_stacks(search)
    architectures = grid_size(plan.searched)
    if not plan.lanes or search.stop_by == "hypervolume" or architectures is None:
        return 1
    if search.num_trials is not None and search.num_trials < architectures:
        return 1
    seeds = len(plan.points) // plan.settings

    def rounds_times_cost(division: int) -> int:
        rounds = math.ceil(architectures * division / workers)
        return rounds * (1 + seeds * math.ceil(plan.settings / division))

    return min(range(1, plan.settings + 1), key=rounds_times_cost)


def variants(search: SearchConfig) -> list[RunConfig]:
    """Returns the base, and the base with each choice by itself."""
    changed = [
        override(search.base, {field: value}, f"space.{field}")
        for field, dimension in search.space.items()
        if isinstance(dimension, Choice) and field not in LANE_FIELDS
        for value in dimension.values
    ]
    return [search.base, *changed]


def config_of(search: SearchConfig, plan: StackPlan, parameters: Mapping[str, Any]) -> RunConfig:
    """Returns the configuration of a trial from all its parameters; all lanes see the batches of the base's seed."""
    config = configuration(search, {field: value for field, value in parameters.items() if field != STACK})
    if not plan.lanes:
        return config
    return override(config, {"training.data_seed": search.base.training.seed_of_data}, "search")


def lane_configs(search: SearchConfig, plan: StackPlan, drawn: Mapping[str, Any]) -> list[RunConfig]:
    """Returns the configuration of every lane of a stack."""
    return [config_of(search, plan, {**drawn, **point}) for point in plan.points_of(drawn)]


def checkpoints_of(folder: str, drawn: Mapping[str, Any]) -> str:
    """Returns the URI of a stack's checkpoints in a search's folder, named after what Ray Tune drew for the stack."""
    named = json.dumps(drawn, sort_keys=True).encode()
    return f"{folder}/trials/{hashlib.sha256(named).hexdigest()[:16]}"


def check_memory(search: SearchConfig, plan: StackPlan, dataset: Dataset, bytes_of_a_trial: float) -> None:
    """Raises before anything is trained if the stacks of a search need more memory than their workers have.

    Args:
        search: The search.
        plan: The lanes of its stacks.
        dataset: The dataset that the search trains on.
        bytes_of_a_trial: Memory of each of the stacks that train at once.

    Raises:
        ConfigError: If the largest stack does not fit; gives the size of a lane, and how many would fit.
    """
    lanes = len(plan.points_of({}))
    if lanes < 2:
        return
    needed, config = max(((bytes_of_a_lane(one, dataset), one) for one in variants(search)), key=lambda pair: pair[0])
    row_bytes, num_rows = dataset.manifest.example.row_bytes, sum(map(dataset.num_rows, ("train", "validation")))
    data = min(config.training.memory_budget_bytes, row_bytes * num_rows)
    fitting = int((bytes_of_a_trial - data) // needed)
    if fitting >= lanes:
        return
    body = next(iter(labels(Choice(values=(config.model.encoder.model_dump(mode="json"),)))))
    raise ConfigError(
        f"space: {lanes} lanes of {body} with batches of {config.training.batch_size} take {lanes * needed / 2**20:,.0f} "
        f"MiB beside {data / 2**20:,.0f} MiB of data, and a trial has {bytes_of_a_trial / 2**20:,.0f} MiB: "
        f"{max(0, fitting)} lanes would fit. Take fewer choices of {', '.join(plan.lanes)}, a smaller batch or model, or "
        "set lanes to false"
    )
