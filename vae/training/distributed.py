"""Training as a Ray Train job: any number of workers, restarted and resumed after a failure.

The only file in `vae` that imports ray. Ray Train places the workers, connects them, and restarts them. Checkpoints are
betaline's own (see `state.py`), because Ray Train's are neither hashed nor exact in the middle of an epoch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
import ray
import ray.train
import ray.train.torch
from ray.train.torch.config import _TorchBackend

from vae import progress
from vae.config import RunConfig, ScalingConfig, parse
from vae.data.parquet import Dataset
from vae.errors import BetalineError, CheckpointError, ClusterError, Diverged, rebuild
from vae.model import VAE
from vae.storage import Location, locate, write_whole
from vae.training.hooks import EpochReport, Hooks
from vae.training.latents import fit_latents
from vae.training.loop import Training
from vae.training.room import places
from vae.training.state import save_model
from vae.training.verdict import early_epoch, judge, measure
from vae.training.world import World, set_up_process

REPORT_SECONDS = 2.0
"""Minimum seconds between two reports. Ray Train fetches reports when it polls its workers; more reports would stall
training."""
FAULT = "fault.json"
"""Name of the file in a run's folder with an error that one rank met while others trained."""
COUNT_SECONDS = 2.0
"""Seconds between two counts of the living nodes, which show what the workers wait for."""

OnReport = Callable[[list[dict[str, Any]]], None]
OnEvent = Callable[[str, Mapping[str, Any]], None]
AtEnd = Callable[[VAE, RunConfig, Dataset, World], dict[str, float]]


@dataclass(frozen=True)
class TrainSpec:
    """Specification of a run, for every worker."""

    config: RunConfig
    dataset: str
    """URI of the dataset's folder."""
    folder: str
    """URI of the run's folder for checkpoints and the trained model, which all workers can reach."""
    name: str
    """Name of the run. The same name in the same folder continues the run."""
    start: str | None = None
    """URI of the folder of a trained model whose weights the run starts from; None starts from random weights."""

    @property
    def checkpoints(self) -> str:
        """URI of the folder of the run's checkpoints."""
        return (locate(self.folder) / "checkpoints").uri


@dataclass(frozen=True)
class TrainOutcome:
    """Result of a finished run."""

    model: str
    """URI of the trained model's folder."""
    history: list[dict[str, Any]]
    """Epochs of the run, as fields of `EpochReport`."""
    best: dict[str, Any]
    """Epoch whose weights the model has."""
    resumed_from_step: int
    scores: dict[str, float] = field(default_factory=dict)
    """Scores of the model by name, as `at_end` measured them."""


def train(
    spec: TrainSpec,
    on_report: OnReport | None = None,
    on_event: OnEvent | None = None,
    at_end: AtEnd | None = None,
) -> TrainOutcome:
    """Trains on the cluster that this process is connected to, and waits for the end.

    Args:
        spec: The run.
        on_report: Receives new epochs every couple of seconds, in Ray Train's controller, and all epochs in this process if
            the workers raised an error. Must be picklable and must not block.
        on_event: Receives events of rank 0: each `vae.progress.Progress` as `progress`, and `finding`. Must be picklable.
        at_end: Measures the trained model; called on all ranks, rank 0 returns the scores. Must be picklable.

    Raises:
        BetalineError: The error of a worker that another attempt would repeat; such a run is not retried.
        ClusterError: If the workers failed, or waited in vain for resources, more often than `scaling.max_failures`.
    """
    scaling, folder = spec.config.scaling, locate(spec.folder)
    with suppress(FileNotFoundError):  # what ended an earlier job may be mended
        folder.filesystem.delete_file((folder / FAULT).path)
    try:
        with _announcing_shortage(scaling):
            answer = _trainer(spec, on_report, on_event, at_end).fit().return_value
    except ray.train.TrainingFailedError as error:
        if missing := _missing(scaling):
            raise ClusterError(
                f"run {spec.name} gave up for want of {missing}; add nodes and give the same command again, which goes on "
                "from the last checkpoint"
            ) from error
        raise ClusterError(
            f"run {spec.name} failed {scaling.max_failures + 1} times, the last time with: {error}"
        ) from error
    assert answer is not None, "rank 0 always answers"
    if "error" in answer:
        if on_report and answer.get("epochs"):
            on_report(answer["epochs"])  # the controller has not got the last ones
        raise rebuild(answer["error"], answer["message"])
    return TrainOutcome(**answer)


def _trainer(
    spec: TrainSpec, on_report: OnReport | None, on_event: OnEvent | None, at_end: AtEnd | None
) -> ray.train.torch.TorchTrainer:
    scaling = spec.config.scaling
    callbacks: list[ray.train.UserCallback] = [_ForwardReports(on_report)] if on_report else []
    failures = scaling.max_failures
    # Ray derives the threads from the worker's CPUs too, but only if the user has not exported another number.
    environment = {"OMP_NUM_THREADS": str(scaling.cpus_per_worker)}
    return ray.train.torch.TorchTrainer(
        _train_worker,
        train_loop_config={"spec": _to_json(spec), "on_event": on_event, "at_end": at_end},
        torch_config=_OnNodeAddresses(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=_num_workers(scaling),
            use_gpu=scaling.gpus_per_worker > 0,
            resources_per_worker=_wanted(scaling),
        ),
        run_config=ray.train.RunConfig(
            name=spec.name,
            storage_path=spec.folder,
            failure_config=ray.train.FailureConfig(max_failures=failures, controller_failure_limit=failures),
            callbacks=callbacks,
            worker_runtime_env={"env_vars": environment},
        ),
    )


def _num_workers(scaling: ScalingConfig) -> int | tuple[int, int]:
    least, most = scaling.least_workers, scaling.num_workers
    return most if least == most else (least, most)


@dataclass
class _OnNodeAddresses(ray.train.torch.TorchConfig):
    """Torch configuration in which ranks use the addresses that their nodes have in the cluster."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _NodeAddressBackend


class _NodeAddressBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: ray.train.torch.TorchConfig) -> None:
        worker_group.execute(_choose_interface)
        super().on_start(worker_group, backend_config)


def _choose_interface() -> None:
    """Makes gloo use the node's address; its default is the address of the host's name, often a loopback address."""
    address = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def living() -> list[dict[str, float]]:
    """Returns the resources of each living node of the cluster that this process is connected to."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _wanted(scaling: ScalingConfig) -> dict[str, float]:
    """Returns the resources of each worker, by Ray's names."""
    return {"CPU": scaling.cpus_per_worker, **({"GPU": scaling.gpus_per_worker} if scaling.gpus_per_worker else {})}


def _missing(scaling: ScalingConfig) -> str | None:
    """Returns the resources that the cluster lacks for the workers, such as "2 CPUs, have 1: …"; None if all fit."""
    wanted = _wanted(scaling)
    room = places(wanted, living())
    least = scaling.least_workers
    if room >= least:
        return None
    need = " and ".join(f"{least * amount} {name}s" for name, amount in wanted.items())
    have = " and ".join(f"{sum(node.get(name, 0) for node in living()):g}" for name in wanted)
    return f"{need}, have {have}: room for {room} of {least} workers"


@contextmanager
def _announcing_shortage(scaling: ScalingConfig) -> Iterator[None]:
    """Prints the resources that workers wait for while the block runs: Ray Train waits silently."""
    announced: str | None = None

    def watch() -> None:
        nonlocal announced
        missing = _missing(scaling)
        if missing != announced:
            print(f"waiting for {missing}" if missing else "there is room for all workers again", flush=True)
            announced = missing

    with progress.every(COUNT_SECONDS, watch):
        yield


class _ForwardReports(ray.train.UserCallback):
    """Callback in Ray Train's controller that forwards the epochs of rank 0."""

    def __init__(self, on_report: OnReport) -> None:
        self.on_report = on_report

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Forwards a report of all ranks."""
        self.on_report(metrics[0]["epochs"])


def _train_worker(config: dict[str, Any]) -> dict[str, Any]:
    """Trains one rank. An error of betaline's own is returned, not raised: Ray Train would retry it."""
    set_up_process(int(os.environ["OMP_NUM_THREADS"]))
    spec = _from_json(config["spec"])
    folder = locate(spec.folder)
    world = World.current(ray.train.torch.get_device())
    hooks = _WorkerHooks(world, config["on_event"])
    training, error = None, None
    try:
        training = _prepared(spec, world, hooks)
    except BetalineError as raised:
        error = _as_answer(raised)
    # The error of any rank stops all of them, so that none waits for another.
    error = world.first(error)
    if error is not None:
        return error
    assert training is not None
    try:
        result = training.run()
    except (CheckpointError, Diverged) as raised:  # on every rank, because all of them decide together
        if isinstance(raised, Diverged):
            _save_last_good(training, (folder / "model").uri)
        return {**_as_answer(raised), "epochs": [asdict(report) for report in training.record.history]}
    except BetalineError as raised:
        # Of this rank alone, such as a damaged shard: the next attempt says it on every rank.
        write_whole(folder / FAULT, json.dumps(_as_answer(raised)).encode())
        raise
    hooks.flush()
    model = (folder / "model").uri
    fit_latents(training.model, training.config, training.dataset, world)
    if world.rank == 0:
        save_model(result.model, model)
    at_end: AtEnd | None = config["at_end"]
    scores = {} if at_end is None else at_end(result.model, spec.config, training.dataset, world)
    history = [asdict(report) for report in result.history]
    return asdict(TrainOutcome(model, history, asdict(result.best), result.resumed_from_step, scores))


def _prepared(spec: TrainSpec, world: World, hooks: _WorkerHooks) -> Training:
    """Returns the training of this rank; raises what ended the attempt before on one of its ranks."""
    if (fault := _fault_before(locate(spec.folder))) is not None:
        raise rebuild(fault["error"], fault["message"])
    progress.report("reading and verifying the data")
    dataset = Dataset.open(spec.dataset, checks_shards=True)
    dataset.check_sizes()
    training = Training(spec.config, dataset, world, spec.checkpoints, hooks, spec.start)
    if world.rank == 0:
        if training.kept is not None:
            print(training.kept.sentence(str(spec.start)), flush=True)
        hooks.watch(training)
    return training


def _save_last_good(training: Training, uri: str) -> None:
    """Saves the best epoch's model of a run that diverged; nothing in the first epoch, which has no validated weights."""
    if training.record.history:
        model = training.best_model()
        fit_latents(model, training.config, training.dataset, training.world)
        if training.world.rank == 0:
            save_model(model, uri)


def _fault_before(folder: Location) -> dict[str, str] | None:
    """Returns the error that ended the attempt before this one on one of its ranks; None if there was none."""
    try:
        return json.loads((folder / FAULT).read())
    except FileNotFoundError:
        return None


def _as_answer(error: BetalineError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error)}


class _WorkerHooks(Hooks):
    """Hooks that pass epochs to Ray Train, at most every `REPORT_SECONDS`, and events to the listener on rank 0."""

    def __init__(self, world: World, on_event: OnEvent | None) -> None:
        self.pending: list[dict[str, Any]] = []
        self.last_report_seconds = 0.0
        self.on_event = on_event if world.rank == 0 else None
        if on_event and world.rank == 0:
            progress.listen(lambda position: on_event("progress", asdict(position)))
        self.training: Training | None = None

    def watch(self, training: Training) -> None:
        """Judges a training once a tenth of its epochs is over."""
        if self.on_event is not None:
            self.training = training

    def on_epoch(self, report: EpochReport) -> None:
        """Passes on an epoch, and the findings of the early verdict."""
        self.pending.append(asdict(report))
        if self.on_event and self.training is not None and report.epoch == early_epoch(self.training.config):
            progress.report("judging the run so far")
            config, model = self.training.config, self.training.shipped
            measured = measure(config, self.training.dataset, model)
            for finding in judge(config, self.training.record.history, measured):
                self.on_event("finding", asdict(finding))
        # By the clock that all ranks share: a report is a barrier.
        if report.elapsed_seconds - self.last_report_seconds >= REPORT_SECONDS:
            self.last_report_seconds = report.elapsed_seconds
            self.flush()

    def is_leaving(self) -> bool:
        """Asks Ray Train, which watches the nodes for a notice that they are drained."""
        return ray.train.get_preemption_info() is not None

    def flush(self) -> None:
        """Reports the pending epochs to Ray Train."""
        if self.pending:
            ray.train.report({"epochs": self.pending})
            self.pending = []


def _to_json(spec: TrainSpec) -> dict[str, Any]:
    return {**vars(spec), "config": spec.config.model_dump(mode="json")}


def _from_json(values: Mapping[str, Any]) -> TrainSpec:
    return TrainSpec(**{**values, "config": parse(RunConfig, values["config"])})
