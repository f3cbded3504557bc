"""The best model so far of a search that ended, was stopped, or still runs, in the form of a training's result."""

from __future__ import annotations

from pipelines.cluster.runs import SPEC, RunFolder
from pipelines.jobs.job import Job
from pipelines.jobs.trial_log import trials_so_far
from pipelines.jobs.tune import earlier_search
from pipelines.models import tracking
from pipelines.stages.tune import SearchedModel, TuneRequest
from tuning.frontier import select
from tuning.models import best_of
from tuning.stacks import config_of, plan_stacks
from vae.errors import RegistryError
from vae.training.state import save_model


def is_search(job: Job, run: str) -> bool:
    """Returns whether a run is a search, finished or not."""
    spec = RunFolder(job.home, run).read(SPEC)
    # The request of a promotion also has a field `search`; it has no dataset.
    return spec is not None and {"search", "dataset"} <= spec["request"].keys()


def best_so_far(job: Job, run: str) -> SearchedModel:
    """Returns the best trial with the table of trials, and saves its model to this job's folder.

    Raises:
        ClusterError: If no trial has the figures that the search's rule looks at.
        RegistryError: If no trial has left a checkpoint yet.
    """
    folder = RunFolder(job.home, run)
    trials = tuple(trials_so_far(folder).values())
    if not trials:
        raise RegistryError(f"search {run} has no trial yet")
    searched = earlier_search(Job(f"{folder.uri}/{SPEC}", TuneRequest))
    config, dataset = searched.config, searched.dataset
    select(trials, config.select)  # raises the reason why there is none
    best = best_of(config, searched.division, dataset, searched.folder, trials)
    if best is None:
        raise RegistryError(
            f"no trial of {run} has left a checkpoint yet: one is written every "
            f"{config.base.training.checkpoint_seconds:g} s at the end of an epoch (base.training.checkpoint_seconds)"
        )
    uri = (job.folder.location / "model").uri
    save_model(best.model, uri)
    run_id = tracking.open_run(searched.job.request.name, f"{run}.{best.trial.trial_id}")
    tracking.close_run(run_id)
    return SearchedModel(
        run=run,
        mlflow_run_id=run_id,
        dataset=dataset.uri,
        dataset_id=dataset.manifest.dataset_id,
        config=config_of(config, plan_stacks(config), best.trial.parameters),
        train_seconds=best.history[-1].elapsed_seconds,
        model=uri,
        history=tuple(best.history),
        trials=trials,
        chosen_trial=best.trial.trial_id,
        select=config.select,
    )
