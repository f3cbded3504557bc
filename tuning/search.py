"""Searches with Ray Tune: Optuna proposes, ASHA stops, every trial trains a stack of lanes inside its own process."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, assert_never

import optuna
import ray
from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from tuning.frontier import Trial
from tuning.scores import check_rule
from tuning.space import Choice, Integers, SearchConfig, Space, Uniform, check_space, grid, grid_size, labels
from tuning.stacks import STACK, Split, check_memory, divide, split
from tuning.trial import LANES, SCORE, run_trial
from vae.data.parquet import Dataset
from vae.errors import ClusterError
from vae.training.distributed import living, places
from vae.training.reports import EpochReport
from vae.training.room import in_words, shortage

log = logging.getLogger(__name__)

Observer = Callable[[Trial, EpochReport | None], None]


def search(
    config: SearchConfig, dataset: str, folder: str, name: str, observer: Observer | None = None, *, division: int = 1
) -> list[Trial]:
    """Runs a search on the cluster that this process is connected to, or goes on with one that was cut off.

    Args:
        config: What varies, and how much is spent on it.
        dataset: URI of the dataset's folder.
        folder: URI of a folder that all nodes reach, for the search's state.
        name: Of the search. The same name in the same folder goes on: finished trials are not repeated.
        observer: Called in this process with each trial as it starts, reports an epoch, and ends.
        division: Stacks that the lanes of an architecture are divided into; it must stay when a search goes on.

    Returns:
        The trials, in the order they were proposed.

    Raises:
        ConfigError: If the space does not fit the configuration.
        DataError: If the dataset is not what its manifest says.
        ClusterError: If the cluster can never run one trial.
    """
    check_space(config)
    data, parts = Dataset.open(dataset), split(config, division)
    data.verify(["train", "validation"])
    check_rule(config, data)
    if parts.reason is not None:
        log.warning("%s: every trial is one model", parts.reason)
    need = resources_of(config)
    num_concurrent = max_concurrent(need)
    check_memory(config, parts, data, ray.cluster_resources().get("memory", math.inf) / num_concurrent)
    request = {"config": config.model_dump(mode="json"), "dataset": dataset, "folder": folder, "division": division}
    tuner = _tuner(config, request, name, parts.searched, need, num_concurrent)
    _Observe.observer, _Observe.parts, _Observe.failed = observer, parts, set()
    try:
        results = tuner.fit()
    finally:
        _Observe.observer = None
    return [trial for result in results for trial in _trials_of(result, parts)]


def _tuner(
    config: SearchConfig, request: dict[str, Any], name: str, space: Space, need: Need, num_concurrent: int
) -> tune.Tuner:
    """A new search for Ray Tune, whose every trial gets the request; or the one of this name that was cut off."""
    # Ray Tune's own log files of every trial cost more than an epoch of a small model; MLflow has the curves.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # By its own handler an interrupt would end the search as if it were over.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    trainable = tune.with_resources(tune.with_parameters(run_trial, **request), need.of_process)
    folder, distributions = request["folder"], _distributions(space)
    path = f"{folder}/{name}"
    if tune.Tuner.can_restore(path):
        return tune.Tuner.restore(
            path, trainable=trainable, resume_unfinished=True, resume_errored=True, param_space=distributions
        )
    return tune.Tuner(
        trainable,
        param_space=distributions,
        tune_config=_tune_config(config, space, num_concurrent),
        run_config=tune.RunConfig(
            name=name,
            storage_path=folder,
            verbose=0,
            callbacks=[_Observe()],
            # A lost process: what a trial refuses is an answer, and not tried again.
            failure_config=tune.FailureConfig(max_failures=config.base.scaling.max_failures),
        ),
    )


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


def _tune_config(config: SearchConfig, space: Space, num_concurrent: int) -> tune.TuneConfig:
    size, trials = grid_size(space), num_trials(config, space)
    # A grid that the trials cover comes first and whole, so that the table has no holes.
    points = list(grid(space)) if size is not None and size <= trials else None
    sampler = OptunaSearch(sampler=optuna.samplers.TPESampler(seed=config.seed), points_to_evaluate=points)
    return tune.TuneConfig(
        metric=SCORE,
        mode="min",
        num_samples=trials,
        max_concurrent_trials=num_concurrent,
        time_budget_s=config.time_budget_seconds,
        search_alg=sampler if space else None,
        scheduler=ASHAScheduler(
            time_attr="epoch",
            max_t=config.base.training.epochs,
            grace_period=min(config.grace_epochs, config.base.training.epochs),
            reduction_factor=config.reduction_factor,
        ),
        # A Ray Train run that is stopped ends with the process that started it.
        reuse_actors=resources_of(config).workers == 1,
    )


@dataclass(frozen=True)
class Need:
    """What one trial takes of a cluster."""

    workers: int
    """1: the trial's own process. More: those of the Ray Train run that it starts and waits for."""
    cpus: float
    """Of each worker."""
    gpus: float
    """Of each worker."""

    @property
    def of_process(self) -> dict[str, float]:
        """Ray's resources of the trial's process. Where others work for it, next to none: they would miss its CPU."""
        if self.workers > 1:
            return {"cpu": 0, "memory": 2**20}  # Ray Tune takes no request for nothing
        return {"cpu": self.cpus, "gpu": self.gpus}


def resources_of(config: SearchConfig) -> Need:
    """A model that trains on several workers is a Ray Train run of its own; all others train in their trial's process."""
    scaling = config.base.scaling
    if scaling.num_workers == 1:
        return Need(1, config.cpus_per_trial, config.gpus_per_trial)
    return Need(scaling.num_workers, scaling.cpus_per_worker, scaling.gpus_per_worker)


def num_trials(config: SearchConfig, space: Space) -> int:
    """Trials that Ray Tune runs over what it draws: as many as were asked for, or one for every combination."""
    trials = (config.num_trials or grid_size(space)) if space else 1
    assert trials is not None, "check_space refuses a search without a number of trials"
    return trials


def max_concurrent(need: Need) -> int:
    """Trials that the cluster can run at once.

    Raises:
        ClusterError: If it can never run one.
    """
    wanted = {name: amount for name, amount in {"CPU": need.cpus, "GPU": need.gpus}.items() if amount}
    room = places(wanted)
    if room >= need.workers:
        return room // need.workers
    if need.workers == 1:
        asked, lower = in_words(wanted), " or ".join(f"{name.lower()}s_per_trial" for name in wanted)
    else:
        asked, lower = f"{need.workers} workers of {in_words(wanted)}", "base.scaling.num_workers"
    lack = shortage(f"{asked} per trial", wanted, living(), room)
    raise ClusterError(f"{lack}; lower {lower}, or connect to a larger cluster")


def division_of(config: SearchConfig) -> int:
    """Into how many stacks to divide lanes on the cluster that this process is connected to; see `divide`."""
    return divide(config, max_concurrent(resources_of(config)))


class _Observe(Callback):
    """Runs in the search's driver. Ray Tune stores it with the search, so it must not hold the observer itself."""

    observer: ClassVar[Observer | None] = None
    parts: ClassVar[Split]
    failed: ClassVar[set[str]] = set()
    """Lanes that failed while their stack goes on, and were told of."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(trial, {}, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        told = json.loads(result[LANES])
        for seen, lane in zip(
            _lanes(trial.trial_id, trial.config, result, _Observe.parts, "running"), told, strict=True
        ):
            for report in lane["new"]:
                if _Observe.observer is not None:
                    _Observe.observer(seen, EpochReport(**report))
            if seen.status == "failed" and seen.trial_id not in _Observe.failed and _Observe.observer is not None:
                _Observe.failed.add(seen.trial_id)
                _Observe.observer(seen, None)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(trial, trial.last_result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(trial, trial.last_result, error=_last_line(str(trial.get_error())))

    def _tell(
        self, trial: Any, metrics: Mapping[str, Any] | None, status: str | None = None, error: str | None = None
    ) -> None:
        for seen in _lanes(trial.trial_id, trial.config, metrics or {}, _Observe.parts, status, error):
            _Observe.failed.discard(seen.trial_id)
            if _Observe.observer is not None:
                _Observe.observer(seen, None)


def _trials_of(result: Any, parts: Split) -> list[Trial]:
    metrics = result.metrics or {}
    error = _last_line(str(result.error)) if result.error else None
    # A trial whose process died at its start has no configuration to tell.
    return _lanes(str(metrics.get("trial_id", result.path)), result.config or {}, metrics, parts, None, error)


def _last_line(error: str) -> str:
    """What a trial said in the end; the lines before are its traceback through Ray."""
    return error.strip().splitlines()[-1] if error.strip() else "no reason was given"


def _lanes(
    trial_id: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, Any],
    parts: Split,
    status: str | None = None,
    error: str | None = None,
) -> list[Trial]:
    """The lanes of one of Ray Tune's trials, each a trial of the search.

    Args:
        trial_id: Ray Tune's.
        parameters: What Ray Tune drew.
        metrics: What was reported last; empty before the first epoch.
        parts: What each lane has of its own.
        status: None for that which the last report tells.
        error: Why all of them failed.
    """
    points = parts.points_of(parameters)
    shared = {field: value for field, value in parameters.items() if field != STACK}
    told = json.loads(metrics[LANES]) if LANES in metrics else [{}] * len(points)
    return [
        _lane(f"{trial_id}.{number}" if len(points) > 1 else trial_id, {**shared, **point}, lane, status, error)
        for number, (point, lane) in enumerate(zip(points, told, strict=True))
    ]


def _lane(
    trial_id: str, parameters: dict[str, Any], told: Mapping[str, Any], status: str | None, error: str | None
) -> Trial:
    last, best, error = told.get("last") or {}, told.get("best") or {}, told.get("error") or error
    if error:
        status = "failed"
    elif last.get("is_last"):
        status = "finished"
    return Trial(
        trial_id=trial_id,
        parameters=parameters,
        status=status or "stopped",
        epochs=last.get("epoch", 0),
        distortion=best.get("validation_distortion"),
        rate=best.get("validation_rate"),
        negative_bound=best.get("validation_negative_bound"),
        active_units=best.get("active_units"),
        error=error,
        scores=told.get("scores", {}),
        steps=last.get("step", 0),
        steps_per_second=told.get("steps_per_second"),
    )
