"""Models of trials, read from checkpoints: also of trials that still run, were stopped, or have failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuning.frontier import Trial, candidates
from tuning.space import SearchConfig
from tuning.stacks import checkpoints_of, lane_configs, plan_stacks
from vae.data.parquet import Dataset
from vae.model import VAE
from vae.training.hooks import EpochReport
from vae.training.lanes import LaneTraining
from vae.training.latents import fit_latents
from vae.training.loop import unfinished


class Best(NamedTuple):
    """The best trial that has a checkpoint, with its model and its epochs."""

    trial: Trial
    model: VAE
    history: list[EpochReport]


def best_of(search: SearchConfig, division: int, dataset: Dataset, folder: str, trials: Sequence[Trial]) -> Best | None:
    """Returns the best trial by the search's rule among those with a checkpoint; None if there is none.

    Args:
        search: The search.
        division: Stacks per architecture; see `stacks.divide`.
        dataset: The dataset that the search trains on.
        folder: URI of the search's folder, as `search` got it.
        trials: The trials to choose from.

    Raises:
        CheckpointError: If no checkpoint of a trial is intact.
    """
    for candidate in candidates(trials, search.select):
        if (trained := model_of(search, division, dataset, folder, candidate.typical)) is not None:
            return Best(candidate.typical, *trained)
    return None


def model_of(
    search: SearchConfig, division: int, dataset: Dataset, folder: str, trial: Trial
) -> tuple[VAE, list[EpochReport]] | None:
    """Returns a trial's model at its best epoch and its epochs, by its newest checkpoint; None without a finished epoch.

    The arguments are those of `best_of`.

    Raises:
        CheckpointError: If no checkpoint is intact.
    """
    plan = plan_stacks(search, division)
    drawn, lane = plan.drawn(trial.parameters)
    checkpoints, configs = checkpoints_of(folder, drawn), lane_configs(search, plan, drawn)
    if plan.lanes:
        stack = LaneTraining(configs, dataset, checkpoints=checkpoints)
        stack.resume()
        history = stack.records[lane].history
        model = stack.model_of(lane) if history else None
    else:
        # Ray Train keeps the checkpoints of several workers in a folder of the run.
        uri = f"{checkpoints}/checkpoints" if configs[0].scaling.num_workers > 1 else checkpoints
        interrupted = unfinished(configs[0], dataset, uri)
        model, history = (interrupted.model, interrupted.history) if interrupted else (None, [])
    if model is None or not history:
        return None
    fit_latents(model, configs[lane], dataset)
    return model, history
