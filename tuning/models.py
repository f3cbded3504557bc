"""The model of a trial, from what its process has left: also of one that still runs, or was stopped."""

from __future__ import annotations

from tuning.frontier import Trial
from tuning.space import SearchConfig
from tuning.stacks import checkpoints_of, lane_configs, split
from vae.data.parquet import Dataset
from vae.lanes import LaneTraining
from vae.latents import fit_latents
from vae.model import VAE
from vae.reports import EpochReport
from vae.training import Training


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
        training = Training(configs[0], dataset, checkpoints=where)
        training.resume()
        history = training.record.history
        model = training.best_model() if history else None
    if model is None:
        return None
    fit_latents(model, configs[lane], dataset)
    return model, history
