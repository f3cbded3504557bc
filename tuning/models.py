"""The model of a trial, from what its process has left: also of one that still runs, was stopped, or has failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuning.frontier import Trial, candidates
from tuning.space import SearchConfig
from tuning.stacks import checkpoints_of, lane_configs, split
from vae.data.parquet import Dataset
from vae.model import VAE
from vae.training.lanes import LaneTraining
from vae.training.latents import fit_latents
from vae.training.loop import unfinished
from vae.training.reports import EpochReport


class Best(NamedTuple):
    """The best trial that has left a model."""

    trial: Trial
    model: VAE
    history: list[EpochReport]


def best_of(search: SearchConfig, division: int, dataset: Dataset, folder: str, trials: Sequence[Trial]) -> Best | None:
    """By the search's rule; see `model_of` for the arguments. None where no trial has a checkpoint and what the rule asks.

    Raises:
        CheckpointError: If no checkpoint of a trial is intact.
    """
    for candidate in candidates(trials, search.select):
        if (found := model_of(search, division, dataset, folder, candidate.typical)) is not None:
            return Best(candidate.typical, *found)
    return None


def model_of(
    search: SearchConfig, division: int, dataset: Dataset, folder: str, trial: Trial
) -> tuple[VAE, list[EpochReport]] | None:
    """A trial's model at its best epoch as of its last checkpoint, and the epochs until then; None where there is none.

    Args:
        search: The search.
        division: Stacks of an architecture; see `stacks.divide`.
        dataset: What it trains on.
        folder: URI of the search's folder, as `search` was given it.
        trial: One.

    Raises:
        CheckpointError: If no checkpoint is intact.
    """
    parts = split(search, division)
    drawn, lane = parts.drawn(trial.parameters)
    checkpoints, configs = checkpoints_of(folder, drawn), lane_configs(search, parts, drawn)
    if parts.lanes:
        stack = LaneTraining(configs, dataset, checkpoints=checkpoints)
        stack.resume()
        history = stack.records[lane].history
        model = stack.model_of(lane) if history else None
    else:
        # Several workers' checkpoints lie where Ray Train's run does.
        where = f"{checkpoints}/checkpoints" if configs[0].scaling.num_workers > 1 else checkpoints
        left = unfinished(configs[0], dataset, where)
        model, history = (left.model, left.history) if left else (None, [])
    if model is None or not history:
        return None
    fit_latents(model, configs[lane], dataset)
    return model, history
