"""A search's best model so far, as if a training run had left it: of a search that ended, was stopped, or still runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipelines.cluster.runs import SPEC, RunFolder
from pipelines.flows.requests import TuneRequest
from pipelines.jobs import choosing
from pipelines.jobs.job import Job
from pipelines.jobs.tune import trials_so_far
from pipelines.models import tracking
from tuning.frontier import Trial, select
from tuning.models import best_of
from tuning.stacks import config_of, split
from vae.config import parse
from vae.data.parquet import Dataset
from vae.errors import RegistryError
from vae.training.state import save_model


def is_search(job: Job, run: str) -> bool:
    """Whether a run is a search, whatever became of it."""
    spec = RunFolder(job.home, run).read(SPEC)
    # A promotion's request has a search too: its name. It has no dataset.
    return spec is not None and {"search", "dataset"} <= spec["request"].keys()


def best_so_far(job: Job, run: str) -> dict[str, Any]:
    """What a training of the best trial would have left, with the table of trials; its model goes to this job's folder.

    Raises:
        ClusterError: If no trial has what the search's rule looks at.
        RegistryError: If none has left a checkpoint yet.
    """
    folder = RunFolder(job.home, run)
    trials = [Trial(**trial) for trial in trials_so_far(folder).values()]
    if not trials:
        raise RegistryError(f"search {run} has no trial yet")
    searched = Job(f"{folder.uri}/{SPEC}")
    request = parse(TuneRequest, searched.request, run)
    division, dataset = int(searched.kept("division")), Dataset.open(searched.kept("dataset"))
    search, _ = choosing.search_of(searched, request, dataset)
    select(trials, search.select)  # says why there is none
    best = best_of(search, division, dataset, f"{folder.uri}/tune", trials)
    if best is None:
        raise RegistryError(
            f"no trial of {run} has left a checkpoint yet: one is written every "
            f"{search.base.training.checkpoint_seconds:g} s at the end of an epoch (base.training.checkpoint_seconds)"
        )
    uri = (job.folder.location / "model").uri
    save_model(best.model, uri)
    run_id = tracking.open_run(request.name, f"{run}.{best.trial.trial_id}")
    tracking.close_run(run_id)
    return {
        "run": run,
        "mlflow_run_id": run_id,
        "dataset": dataset.uri,
        "dataset_id": dataset.manifest.dataset_id,
        "config": config_of(search, split(search), best.trial.parameters).model_dump(mode="json"),
        "train_seconds": best.history[-1].elapsed_seconds,
        "model": uri,
        "history": [asdict(report) for report in best.history],
        "trials": [asdict(trial) for trial in trials],
        "chosen_trial": best.trial.trial_id,
        "select": search.select,
    }
