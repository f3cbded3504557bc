"""Stacks: which dimensions of a search ride in lanes, and which are left to Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuning.space import Choice, Scalar, SearchConfig, Space, configuration, grid, labels
from vae.config import RunConfig, override
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.lanes import LANE_FIELDS, bytes_of_a_lane, refusal


@dataclass(frozen=True)
class Split:
    """A space in two."""

    lanes: Space
    """Choices that every trial trains together; empty where a trial is one model."""
    searched: Space
    """What Ray Tune draws."""
    reason: str | None
    """Why there are no lanes, where there might have been."""

    @property
    def points(self) -> list[dict[str, Scalar]]:
        """What each lane of a stack has of its own: every combination, by label."""
        return list(grid(self.lanes))


def split(search: SearchConfig) -> Split:
    """Takes the choices of β, seed and learning rate for lanes, unless some model of the space cannot be stacked."""
    stacked: Space = {
        field: dimension
        for field, dimension in search.space.items()
        if field in LANE_FIELDS and isinstance(dimension, Choice)
    }
    if not search.lanes or not stacked:
        return Split({}, search.space, None)
    for config in _variants(search):
        if (reason := refusal(config)) is not None:
            return Split({}, search.space, reason)
    return Split(stacked, {field: d for field, d in search.space.items() if field not in stacked}, None)


def _variants(search: SearchConfig) -> list[RunConfig]:
    """The base, and what each choice by itself makes of it."""
    found = [search.base]
    for field, dimension in search.space.items():
        if isinstance(dimension, Choice) and field not in LANE_FIELDS:
            found += [override(search.base, {field: value}, f"space.{field}") for value in dimension.values]
    return found


def config_of(search: SearchConfig, parts: Split, parameters: Mapping[str, Any]) -> RunConfig:
    """The configuration of a trial, from all that was drawn for it. Lanes see the batches of the base's seed."""
    config = configuration(search, parameters)
    if not parts.lanes:
        return config
    return override(config, {"training.data_seed": search.base.training.seed_of_data}, "search")


def lane_configs(search: SearchConfig, parts: Split, parameters: Mapping[str, Any]) -> list[RunConfig]:
    """Those of every lane of one of Ray Tune's trials."""
    return [config_of(search, parts, {**parameters, **point}) for point in parts.points]


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
    lanes = len(parts.points)
    if lanes < 2:
        return
    needed, config = max(((bytes_of_a_lane(one, dataset), one) for one in _variants(search)), key=lambda pair: pair[0])
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
