"""Searches with Ray Tune: Optuna proposes, ASHA stops, each worker trains a stack of lanes in its own process."""

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
from tuning.rules import check_rule
from tuning.space import Choice, Integers, SearchConfig, Space, Uniform, check_space, grid, grid_size, labels
from tuning.stacks import STACK, StackPlan, check_memory, divide, plan_stacks
from tuning.worker import LANES, SCORE, train_stack
from vae import progress
from vae.data.parquet import Dataset
from vae.errors import ClusterError
from vae.training.distributed import living
from vae.training.hooks import EpochReport
from vae.training.room import in_words, places, shortage

log = logging.getLogger(__name__)

Observer = Callable[[Trial, EpochReport | None], None]


def search(
    config: SearchConfig, dataset: str, folder: str, name: str, observer: Observer | None = None, *, division: int = 1
) -> list[Trial]:
    """Runs a search on the cluster that this process is connected to, or continues one that was cut off.

    Args:
        config: The search.
        dataset: URI of the dataset's folder.
        folder: URI of a folder for the search's state that all nodes reach.
        name: Name of the search. The same name in the same folder continues it: finished trials are not repeated.
        observer: Called in this process with each trial when it starts, reports an epoch, and ends.
        division: Stacks per architecture; a search must be continued with the same number.

    Returns:
        The trials, in the order in which they were proposed.

    Raises:
        ConfigError: If the space does not fit the configuration.
        DataError: If the dataset is not what its manifest says.
        ClusterError: If the cluster can never run one trial.
    """
    check_space(config)
    data, plan = Dataset.open(dataset), plan_stacks(config, division)
    data.check_sizes()
    check_rule(config, data)
    if plan.reason is not None:
        log.warning("%s: every trial trains by itself", plan.reason)
    need = resources_of(config)
    num_concurrent = max_concurrent(need)
    check_memory(config, plan, data, ray.cluster_resources().get("memory", math.inf) / num_concurrent)
    request = {"config": config.model_dump(mode="json"), "dataset": dataset, "folder": folder, "division": division}
    tuner = _tuner(config, request, name, plan.searched, need, num_concurrent)
    _Observe.observer, _Observe.plan, _Observe.failed = observer, plan, set()
    progress.report("starting the processes of the first trials")
    try:
        results = tuner.fit()
    finally:
        _Observe.observer = None
    return [trial for result in results for trial in _trials_of(result, plan)]


def _tuner(
    config: SearchConfig, request: dict[str, Any], name: str, space: Space, need: Need, num_concurrent: int
) -> tune.Tuner:
    """Returns a new search whose every worker gets the request, or the interrupted search of this name."""
    # Ray Tune's own log files of every trial cost more than an epoch of a small model; MLflow has the curves.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # By its own handler an interrupt would end the search as if it were over.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    trainable = tune.with_resources(tune.with_parameters(train_stack, **request), need.of_process)
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
            # For lost processes alone: a worker reports an error of its own as a result.
            failure_config=tune.FailureConfig(max_failures=config.base.scaling.max_failures),
        ),
    )


def _distributions(space: Space) -> dict[str, Any]:
    """Returns the space in Ray Tune's terms; a choice is made between labels, since Optuna takes only scalars."""
    return {field: _distribution(dimension) for field, dimension in space.items()}


def _distribution(dimension: Choice | Uniform | Integers) -> Any:
    match dimension:
        case Choice():
            return tune.choice(list(labels(dimension)))
        case Uniform(low=low, high=high, log=log):
            return (tune.loguniform if log else tune.uniform)(low, high)
        case Integers(low=low, high=high, log=log):
            # Ray Tune's upper bound is exclusive.
            return (tune.lograndint if log else tune.randint)(low, high + 1)
        case _:
            assert_never(dimension)


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
    """Resources of a cluster that one of Ray Tune's trials takes."""

    workers: int
    """Workers of the Ray Train run that the trial starts and waits for; 1 if the trial trains in its own process."""
    cpus: float
    """CPUs of each worker."""
    gpus: float
    """GPUs of each worker."""

    @property
    def of_process(self) -> dict[str, float]:
        """Ray's resources of the trial's own process; next to none if the workers of a Ray Train run need them."""
        if self.workers > 1:
            return {"cpu": 0, "memory": 2**20}  # Ray Tune takes no request for nothing
        return {"cpu": self.cpus, "gpu": self.gpus}


def resources_of(config: SearchConfig) -> Need:
    """Returns what a trial of a search needs: a Ray Train run if the base has several workers, else one process."""
    scaling = config.base.scaling
    if scaling.num_workers == 1:
        return Need(1, config.cpus_per_trial, config.gpus_per_trial)
    return Need(scaling.num_workers, scaling.cpus_per_worker, scaling.gpus_per_worker)


def num_trials(config: SearchConfig, space: Space) -> int:
    """Returns the number of Ray Tune's trials: the configured number, or one for every combination."""
    trials = (config.num_trials or grid_size(space)) if space else 1
    assert trials is not None, "check_space refuses a search without a number of trials"
    return trials


def max_concurrent(need: Need) -> int:
    """Returns the number of trials that the cluster can run at once.

    Raises:
        ClusterError: If the cluster is too small for one trial.
    """
    wanted = {name: amount for name, amount in {"CPU": need.cpus, "GPU": need.gpus}.items() if amount}
    room = places(wanted, living())
    if room >= need.workers:
        return room // need.workers
    if need.workers == 1:
        asked, lower = in_words(wanted), " or ".join(f"{name.lower()}s_per_trial" for name in wanted)
    else:
        asked, lower = f"{need.workers} workers of {in_words(wanted)}", "base.scaling.num_workers"
    lack = shortage(f"{asked} per trial", wanted, living(), room)
    raise ClusterError(f"{lack}; lower {lower}, or connect to a larger cluster")


def division_of(config: SearchConfig) -> int:
    """Returns the number of stacks per architecture on the cluster that this process is connected to; see `divide`."""
    return divide(config, max_concurrent(resources_of(config)))


class _Observe(Callback):
    """Callback in the search's driver. Ray Tune stores it with the search, so the observer is a class variable."""

    observer: ClassVar[Observer | None] = None
    plan: ClassVar[StackPlan]
    failed: ClassVar[set[str]] = set()
    """Lanes whose failure the observer knows though their stack still trains."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Announces the lanes of a stack that starts."""
        self._announce(trial, {}, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Passes on the new epochs of each lane, and its failure."""
        if _Observe.observer is None:
            return
        lanes = _lanes(trial.trial_id, trial.config, result, _Observe.plan, "running")
        for lane, reported in zip(lanes, json.loads(result[LANES]), strict=True):
            for report in reported["new"]:
                _Observe.observer(lane, EpochReport(**report))
            if lane.status == "failed" and lane.trial_id not in _Observe.failed:
                _Observe.failed.add(lane.trial_id)
                _Observe.observer(lane, None)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Announces the lanes of a stack that ended or was stopped."""
        self._announce(trial, trial.last_result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Announces the lanes of a stack whose process failed."""
        self._announce(trial, trial.last_result, error=_last_line(str(trial.get_error())))

    def _announce(
        self, trial: Any, metrics: Mapping[str, Any] | None, status: str | None = None, error: str | None = None
    ) -> None:
        for lane in _lanes(trial.trial_id, trial.config, metrics or {}, _Observe.plan, status, error):
            _Observe.failed.discard(lane.trial_id)
            if _Observe.observer is not None:
                _Observe.observer(lane, None)


def _trials_of(result: Any, plan: StackPlan) -> list[Trial]:
    metrics = result.metrics or {}
    error = _last_line(str(result.error)) if result.error else None
    # Ray Tune has no configuration of a trial whose process died at its start.
    return _lanes(str(metrics.get("trial_id", result.path)), result.config or {}, metrics, plan, None, error)


def _last_line(error: str) -> str:
    """Returns the last line of an error; the lines before are its traceback through Ray."""
    return error.strip().splitlines()[-1] if error.strip() else "no reason was given"


def _lanes(
    trial_id: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, Any],
    plan: StackPlan,
    status: str | None = None,
    error: str | None = None,
) -> list[Trial]:
    """Returns the lanes of one of Ray Tune's trials, each a trial of the search.

    Args:
        trial_id: Ray Tune's identity of the trial.
        parameters: Values that Ray Tune drew.
        metrics: The last report; empty before the first epoch.
        plan: The division of the space into lanes.
        status: Status of lanes that have neither finished nor failed by the last report; None for `stopped`.
        error: Why all lanes failed; None if they did not.
    """
    points = plan.points_of(parameters)
    shared = {field: value for field, value in parameters.items() if field != STACK}
    reported = json.loads(metrics[LANES]) if LANES in metrics else [{}] * len(points)
    return [
        _lane(f"{trial_id}.{number}" if len(points) > 1 else trial_id, {**shared, **point}, lane, status, error)
        for number, (point, lane) in enumerate(zip(points, reported, strict=True))
    ]


def _lane(
    trial_id: str, parameters: dict[str, Any], reported: Mapping[str, Any], status: str | None, error: str | None
) -> Trial:
    last, best = reported.get("last") or {}, reported.get("best") or {}
    error = reported.get("error") or error
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
        scores=reported.get("scores", {}),
        steps=last.get("step", 0),
        steps_per_second=reported.get("steps_per_second"),
    )
