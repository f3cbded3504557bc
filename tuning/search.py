"""Searches with Ray Tune: Optuna proposes, ASHA stops, every trial trains inside its own process."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, assert_never

import optuna
import ray
import torch
from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from tuning.frontier import Trial
from tuning.space import (
    Choice,
    Integers,
    SearchConfig,
    Space,
    Uniform,
    check_space,
    configuration,
    grid,
    grid_size,
    labels,
)
from vae.data.parquet import Dataset
from vae.errors import ClusterError
from vae.reports import EpochReport, Hooks
from vae.training import Training
from vae.world import World

SCORE = "validation_negative_bound"

Observer = Callable[[Trial, EpochReport | None], None]


def search(config: SearchConfig, dataset: str, folder: str, name: str, observer: Observer | None = None) -> list[Trial]:
    """Runs a search on the cluster that this process is connected to, or goes on with one that was cut off.

    Args:
        config: What varies, and how much is spent on it.
        dataset: URI of the dataset's folder.
        folder: URI of a folder that all nodes reach, for the search's state.
        name: Of the search. The same name in the same folder goes on: finished trials are not repeated.
        observer: Called in this process with each trial as it starts, reports an epoch, and ends.

    Returns:
        The trials, in the order they were proposed.

    Raises:
        ConfigError: If the space does not fit the configuration.
        DataError: If the dataset is not what its manifest says.
        ClusterError: If the cluster can never run one trial.
    """
    check_space(config)
    Dataset.open(dataset).verify(["train", "validation"])
    # Ray Tune's own log files of every trial cost more than an epoch of a small model; MLflow has the curves.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    trainable = tune.with_resources(
        tune.with_parameters(_run_trial, config=config.model_dump(mode="json"), dataset=dataset),
        {"cpu": config.cpus_per_trial, "gpu": config.gpus_per_trial},
    )
    num_concurrent = max_concurrent(config)
    path = f"{folder}/{name}"
    if tune.Tuner.can_restore(path):
        tuner = tune.Tuner.restore(
            path,
            trainable=trainable,
            resume_unfinished=True,
            resume_errored=True,
            param_space=_distributions(config.space),
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=_distributions(config.space),
            tune_config=_tune_config(config, num_concurrent),
            run_config=tune.RunConfig(name=name, storage_path=folder, verbose=0, callbacks=[_Observe()]),
        )
    _Observe.observer = observer
    try:
        results = tuner.fit()
    finally:
        _Observe.observer = None
    return [_trial_of(result) for result in results]


def _distributions(space: Space) -> dict[str, Any]:
    """The space in Ray Tune's terms: flat keys, and scalars or labels for values, which is all that Optuna takes."""
    found: dict[str, Any] = {}
    for field, dimension in space.items():
        match dimension:
            case Choice():
                found[field] = tune.choice(list(labels(dimension)))
            case Uniform(low=low, high=high, log=log):
                found[field] = (tune.loguniform if log else tune.uniform)(low, high)
            case Integers(low=low, high=high, log=log):
                # Ray Tune's upper bound is exclusive.
                found[field] = (tune.lograndint if log else tune.randint)(low, high + 1)
            case _:
                assert_never(dimension)
    return found


def _tune_config(config: SearchConfig, num_concurrent: int) -> tune.TuneConfig:
    size = grid_size(config.space)
    trials = config.num_trials or size
    assert trials is not None, "check_space refuses a search without a number of trials"
    sampler = optuna.samplers.TPESampler(seed=config.seed)
    # A grid that the trials cover comes first and whole, so that the table has no holes.
    points = list(grid(config.space)) if size is not None and size <= trials else None
    return tune.TuneConfig(
        metric=SCORE,
        mode="min",
        num_samples=trials,
        max_concurrent_trials=num_concurrent,
        time_budget_s=config.time_budget_seconds,
        search_alg=OptunaSearch(sampler=sampler, points_to_evaluate=points),
        scheduler=ASHAScheduler(
            time_attr="epoch",
            max_t=config.base.training.epochs,
            grace_period=min(config.grace_epochs, config.base.training.epochs),
            reduction_factor=config.reduction_factor,
        ),
        reuse_actors=True,
    )


def max_concurrent(config: SearchConfig) -> int:
    """Trials that the cluster can run at once.

    Raises:
        ClusterError: If it can never run one.
    """
    resources = ray.cluster_resources()
    wanted = {"CPU": config.cpus_per_trial, "GPU": config.gpus_per_trial}
    for name, amount in wanted.items():
        found = resources.get(name, 0)
        if amount > found:
            raise ClusterError(
                f"asked for {amount:g} {name} per trial, the cluster has {found:g}; lower {name.lower()}s_per_trial or "
                "connect to a larger cluster"
            )
    return max(1, math.floor(min(resources.get(name, 0) / amount for name, amount in wanted.items() if amount)))


def _run_trial(parameters: dict[str, Any], *, config: dict[str, Any], dataset: str) -> None:
    """One trial, in its own process: it needs one worker, so it is that worker."""
    search_config = SearchConfig.model_validate(config)
    torch.set_num_threads(search_config.cpus_per_trial)
    device = torch.device("cuda" if search_config.gpus_per_trial and torch.cuda.is_available() else "cpu")
    run = configuration(search_config, parameters)
    Training(run, Dataset.open(dataset), World(device=device), hooks=_TrialHooks()).run()


class _TrialHooks(Hooks):
    """Tells Ray Tune of every epoch."""

    def on_epoch(self, report: EpochReport) -> None:
        tune.report(asdict(report))


class _Observe(Callback):
    """Runs in the search's driver. Ray Tune stores it with the search, so it must not hold the observer itself."""

    observer: ClassVar[Observer | None] = None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(trial, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        fields = EpochReport.__dataclass_fields__
        report = EpochReport(**{name: result[name] for name in fields})
        self._tell(trial, "running", result, report)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(trial, _ending(trial.last_result), trial.last_result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(trial, "failed", trial.last_result, error=_last_line(str(trial.get_error())))

    def _tell(
        self,
        trial: Any,
        status: str,
        metrics: dict[str, Any] | None = None,
        report: EpochReport | None = None,
        error: str | None = None,
    ) -> None:
        if _Observe.observer is not None:
            seen = _describe(trial.trial_id, dict(trial.config), status, metrics or {}, error)
            _Observe.observer(seen, report)


def _trial_of(result: Any) -> Trial:
    metrics = result.metrics or {}
    status = "failed" if result.error else _ending(metrics)
    error = _last_line(str(result.error)) if result.error else None
    # A trial whose process died at its start has no configuration to tell.
    return _describe(str(metrics.get("trial_id", result.path)), dict(result.config or {}), status, metrics, error)


def _last_line(error: str) -> str:
    """What a trial said in the end; the lines before are its traceback through Ray."""
    return error.strip().splitlines()[-1] if error.strip() else "no reason was given"


def _ending(metrics: dict[str, Any]) -> str:
    return "finished" if metrics.get("is_last") else "stopped"


def _describe(
    trial_id: str, parameters: dict[str, Any], status: str, metrics: dict[str, Any], error: str | None
) -> Trial:
    return Trial(
        trial_id=trial_id,
        parameters=parameters,
        status=status,
        epochs=metrics.get("epoch", 0),
        distortion=metrics.get("validation_distortion"),
        rate=metrics.get("validation_rate"),
        negative_bound=metrics.get("validation_negative_bound"),
        active_units=metrics.get("active_units"),
        error=error,
    )
